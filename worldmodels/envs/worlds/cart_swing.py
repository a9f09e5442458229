"""dm_control's cart-pole swing-up, computed in numpy."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from worldmodels.envs.world import World, WorldStep
from worldmodels.envs.worlds.drawing import SIDE, draw_box, draw_capsule, fill, gradient
from worldmodels.types import ActionSpace

# The picture: pixels per metre, the rail's row, the pole's half width in pixels.
_SCALE = 15.0
_RAIL = 32.0
_POLE_RADIUS = 1.9
_CART_HALF = (4.5, 2.75)


class CartSwingState(NamedTuple):
    """Cart position (m), pole angle (rad, 0 upright, pi hanging), and their rates (per s)."""

    position: Float[np.ndarray, " N"]
    angle: Float[np.ndarray, " N"]
    velocity: Float[np.ndarray, " N"]
    angular_velocity: Float[np.ndarray, " N"]


class CartSwing(World):
    """Swing a hanging pole up by moving its cart, and hold it upright in the middle of the rail.

    Equations, start states and the smooth reward (in [0, 1] per step) are those of dm_control's
    ``cartpole`` ``swingup``, so returns compare: 1000 steps of 0.01 s, fourth-order Runge-Kutta.
    The rail's ends are MuJoCo's soft joint limits, solved in closed form since at most one is
    active. The picture is our own: the camera shows 2.1 m to each side, the whole rail.

    Attributes:
        time_step: seconds per world step.
        force: newtons under action 1.
        cart_mass, pole_mass: kilograms.
        pole_length: metres from the hinge to the far end's centre.
        pole_radius: metres.
        cart_damping, pole_damping: viscous friction of slider and hinge.
        rail: metres from the middle to either end.

    Reference: Tassa et al. 2018, "DeepMind Control Suite"; MuJoCo documentation, "Computation",
    constraint model (impedance d, reference acceleration a_ref, regularisation R).
    """

    action_space = ActionSpace(1, False)
    time_limit = 1000
    frame_rate = 100.0
    time_step = 0.01
    force = 10.0
    gravity = 9.81
    cart_mass = 1.0
    pole_mass = 0.1
    pole_length = 1.0
    pole_radius = 0.045
    cart_damping = 5e-4
    pole_damping = 2e-6
    rail = 1.8

    def reset(self, rng: np.random.Generator, num: int) -> CartSwingState:
        """Hangs in the middle, almost at rest."""
        noise = 0.01 * rng.standard_normal((4, num))
        return CartSwingState(noise[0], np.pi + noise[1], noise[2], noise[3])

    def step(self, state: CartSwingState, action: Float[np.ndarray, "N A"]) -> WorldStep:
        """Holds the force for one time step."""
        control = np.clip(action[:, 0], -1.0, 1.0)
        now = np.stack(state)
        half = 0.5 * self.time_step
        first = self._rate(now, control)
        second = self._rate(now + half * first, control)
        third = self._rate(now + half * second, control)
        fourth = self._rate(now + self.time_step * third, control)
        after = now + self.time_step * (first + 2 * second + 2 * third + fourth) / 6
        arrived = CartSwingState(*after)
        return WorldStep(arrived, self.reward(arrived, control), np.zeros(len(control), dtype=bool))

    def reward(
        self, state: CartSwingState, control: Float[np.ndarray, " N"]
    ) -> Float[np.ndarray, " N"]:
        """Upright times centred, with mild penalties on control and spin; in [0, 1]."""
        upright = (1 + np.cos(state.angle)) / 2
        centred = (1 + _bell(state.position / 2)) / 2
        calm = (4 + np.clip(1 - control**2, 0.0, 1.0)) / 5
        slow = (1 + _bell(state.angular_velocity / 5)) / 2
        return upright * centred * calm * slow

    def render(self, state: CartSwingState) -> UInt8[np.ndarray, "N 64 64 3"]:
        """Rail, cart and pole from a fixed camera."""
        frames = np.repeat(self._scene[None], len(state.position), axis=0)
        hinge = np.stack(
            [SIDE / 2 + _SCALE * state.position, np.full_like(state.position, _RAIL)], axis=1
        )
        reach = _SCALE * self.pole_length
        tip = hinge + reach * np.stack([np.sin(state.angle), -np.cos(state.angle)], axis=1)
        draw_box(frames, hinge, _CART_HALF, (52, 84, 140))
        draw_capsule(frames, hinge, tip, _POLE_RADIUS, (226, 104, 40))
        draw_capsule(frames, hinge, hinge, 1.2, (250, 232, 190))
        return frames

    def info(self, state: CartSwingState) -> dict[str, Shaped[np.ndarray, " N"]]:
        """The state's fields by name."""
        return state._asdict()

    @cached_property
    def hinge_inertia(self) -> float:
        """The pole's moment of inertia about the hinge: a cylinder with two half balls."""
        length, radius = self.pole_length, self.pole_radius
        ball_share = (4 / 3) * radius / (length + (4 / 3) * radius)
        cylinder = (3 * radius**2 + length**2) / 12
        balls = 2 * radius**2 / 5 + length**2 / 4 + 3 * length * radius / 8
        about_middle = (1 - ball_share) * cylinder + ball_share * balls
        return self.pole_mass * (about_middle + length**2 / 4)

    def _rate(
        self, now: Float[np.ndarray, "4 N"], control: Float[np.ndarray, " N"]
    ) -> Float[np.ndarray, "4 N"]:
        """Time derivative of the state: solves the 2 x 2 equations of motion."""
        position, angle, velocity, spin = now
        lever = self.pole_mass * self.pole_length / 2
        mass = self.cart_mass + self.pole_mass
        inertia = self.hinge_inertia
        sine = np.sin(angle)
        coupling = lever * np.cos(angle)
        push = self.force * control - self.cart_damping * velocity + lever * spin**2 * sine
        turn = lever * self.gravity * sine - self.pole_damping * spin
        determinant = mass * inertia - coupling**2
        mobility = inertia / determinant
        free = mobility * push - coupling / determinant * turn
        rest_mobility = inertia / (mass * inertia - lever**2)
        push = push + self._stop_force(position, velocity, free, mobility, rest_mobility)
        acceleration = (inertia * push - coupling * turn) / determinant
        angular_acceleration = (mass * turn - coupling * push) / determinant
        return np.stack([velocity, spin, acceleration, angular_acceleration])

    def _stop_force(
        self,
        position: Float[np.ndarray, " N"],
        velocity: Float[np.ndarray, " N"],
        free: Float[np.ndarray, " N"],
        mobility: Float[np.ndarray, " N"],
        rest_mobility: float,
    ) -> Float[np.ndarray, " N"]:
        """The rail end's push on the cart: MuJoCo's soft limit with solreflimit (0.08, 1).

        ``free`` is the cart's acceleration without it, ``mobility`` the acceleration per newton,
        ``rest_mobility`` the same with the pole upright (MuJoCo regularises with that constant).
        """
        side = np.sign(position)
        depth = np.abs(position) - self.rail
        # Default solimp: impedance 0.9 at the surface, 0.95 from 1 mm on, a quadratic spline.
        share = np.clip(depth / 0.001, 0.0, 1.0)
        spline = np.where(share <= 0.5, 2 * share**2, 1 - 2 * (1 - share) ** 2)
        impedance = 0.9 + 0.05 * spline
        stiffness, damping = 1 / (0.95 * 0.08) ** 2, 2 / (0.95 * 0.08)
        wanted = damping * side * velocity + stiffness * impedance * depth
        regularisation = (1 - impedance) / impedance * rest_mobility
        push = (wanted + side * free) / (mobility + regularisation)
        return np.where(depth > 0, -side * np.maximum(push, 0.0), 0.0)

    @cached_property
    def _scene(self) -> UInt8[np.ndarray, "h w C"]:
        middle = SIDE / 2
        end = _SCALE * self.rail + _CART_HALF[0]
        image = gradient((236, 240, 244), (206, 216, 226))
        image = fill(image, lambda x, y: y > 54, (168, 180, 192))
        image = fill(
            image,
            lambda x, y: (np.abs(x - middle) < 0.75) & (np.abs(y - _RAIL) < 20),
            (214, 222, 230),
        )
        image = fill(
            image,
            lambda x, y: (np.abs(x - middle) < end) & (np.abs(y - _RAIL) < 1.0),
            (110, 122, 136),
        )
        return fill(
            image,
            lambda x, y: (np.abs(np.abs(x - middle) - end) < 1.0) & (np.abs(y - _RAIL) < 4.0),
            (80, 90, 104),
        )


def _bell(share: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """1 at 0 and 0.1 at 1: dm_control's Gaussian tolerance, a share of the margin."""
    return np.exp(np.log(0.1) * share**2)
