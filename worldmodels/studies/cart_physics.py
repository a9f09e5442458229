"""The equations of the built-in world CartSwing in torch: exact, or with parameters to be fitted.

They are those of ``envs/worlds/cart_swing.py`` (a test holds them equal), differentiable in the
state, the action and the physical parameters.
"""

from math import log
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


class CartParameters(NamedTuple):
    """Physical parameters: kilograms, metres from hinge to tip, viscous friction."""

    cart_mass: float = 1.0
    pole_mass: float = 0.1
    pole_length: float = 1.0
    cart_damping: float = 5e-4
    pole_damping: float = 2e-6


class CartPhysics(NamedTuple):
    """What the equations of motion are made of: total mass, inertia about the hinge, first moment
    of the pole, and friction.
    """

    mass: Tensor
    inertia: Tensor
    lever: Tensor
    cart_damping: Tensor
    pole_damping: Tensor


class CartEquations(nn.Module):
    """Moves motions (position m, angle rad with 0 upright, and their rates) by one agent step.

    Args:
        parameters: where the parameters start (they stay positive: their logarithms are learned).
        repeat: world steps of 0.01 s per agent step.

    Attributes:
        log: the logarithms of the parameters, in the order of ``CartParameters``.

    Reference: see ``envs/worlds/cart_swing.py``.
    """

    time_step = 0.01
    force = 10.0
    gravity = 9.81
    pole_radius = 0.045
    rail = 1.8

    def __init__(self, parameters: CartParameters, repeat: int = 1):
        super().__init__()
        for name, value in parameters._asdict().items():
            if not value > 0:
                raise ValueError(f"{name}={value}: choose a number above 0")
        if repeat < 1:
            raise ValueError(f"repeat={repeat}: choose 1 or more")
        self.repeat = repeat
        self.log = nn.Parameter(torch.tensor([log(value) for value in parameters]))

    def forward(
        self, motion: Float[Tensor, "*batch 4"], action: Float[Tensor, "*batch 1"]
    ) -> tuple[Float[Tensor, "*batch 4"], Float[Tensor, "*batch"]]:
        """The next motion, and the reward on the way (summed over ``repeat``)."""
        physics, control = self._physics(), action[..., 0].clamp(-1.0, 1.0)
        total = torch.zeros_like(control)
        for _ in range(self.repeat):
            motion = self._world_step(physics, motion, control)
            total = total + self._reward(motion, control)
        return motion, total

    def _world_step(self, physics: CartPhysics, now: Tensor, control: Tensor) -> Tensor:
        """Fourth-order Runge-Kutta."""
        half = 0.5 * self.time_step
        first = self._rate(physics, now, control)
        second = self._rate(physics, now + half * first, control)
        third = self._rate(physics, now + half * second, control)
        fourth = self._rate(physics, now + self.time_step * third, control)
        return now + self.time_step * (first + 2 * second + 2 * third + fourth) / 6

    def _reward(self, motion: Tensor, control: Tensor) -> Tensor:
        position, angle, _, spin = motion.unbind(-1)
        upright = (1 + angle.cos()) / 2
        centred = (1 + _bell(position / 2)) / 2
        calm = (4 + (1 - control**2).clamp(0.0, 1.0)) / 5
        slow = (1 + _bell(spin / 5)) / 2
        return upright * centred * calm * slow

    def _rate(self, physics: CartPhysics, now: Tensor, control: Tensor) -> Tensor:
        """Time derivative of the motion: solves the 2 x 2 equations of motion."""
        position, angle, velocity, spin = now.unbind(-1)
        mass, inertia, lever = physics.mass, physics.inertia, physics.lever
        sine = angle.sin()
        coupling = lever * angle.cos()
        push = self.force * control - physics.cart_damping * velocity + lever * spin**2 * sine
        turn = lever * self.gravity * sine - physics.pole_damping * spin
        determinant = mass * inertia - coupling**2
        mobility = inertia / determinant
        free = mobility * push - coupling / determinant * turn
        rest_mobility = inertia / (mass * inertia - lever**2)
        push = push + self._stop_force(position, velocity, free, mobility, rest_mobility)
        acceleration = (inertia * push - coupling * turn) / determinant
        turning = (mass * turn - coupling * push) / determinant
        return torch.stack([velocity, spin, acceleration, turning], -1)

    def _physics(self) -> CartPhysics:
        cart_mass, pole_mass, length, cart_damping, pole_damping = self.log.exp().unbind()
        inertia = pole_mass * self._hinge_inertia(length)
        lever = pole_mass * length / 2
        return CartPhysics(cart_mass + pole_mass, inertia, lever, cart_damping, pole_damping)

    def _hinge_inertia(self, length: Tensor) -> Tensor:
        """Per kilogram of the pole, about the hinge: a cylinder with two half balls."""
        radius = self.pole_radius
        ball_share = (4 / 3) * radius / (length + (4 / 3) * radius)
        cylinder = (3 * radius**2 + length**2) / 12
        balls = 2 * radius**2 / 5 + length**2 / 4 + 3 * length * radius / 8
        about_middle = (1 - ball_share) * cylinder + ball_share * balls
        return about_middle + length**2 / 4

    def _stop_force(
        self,
        position: Tensor,
        velocity: Tensor,
        free: Tensor,
        mobility: Tensor,
        rest_mobility: Tensor,
    ) -> Tensor:
        """The rail end's push on the cart: MuJoCo's soft limit with solreflimit (0.08, 1)."""
        side, depth = position.sign(), position.abs() - self.rail
        share = (depth / 0.001).clamp(0.0, 1.0)
        spline = torch.where(share <= 0.5, 2 * share**2, 1 - 2 * (1 - share) ** 2)
        impedance = 0.9 + 0.05 * spline
        stiffness, damping = 1 / (0.95 * 0.08) ** 2, 2 / (0.95 * 0.08)
        wanted = damping * side * velocity + stiffness * impedance * depth
        regularisation = (1 - impedance) / impedance * rest_mobility
        answer = (wanted + side * free) / (mobility + regularisation)
        return torch.where(depth > 0, -side * answer.clamp(min=0.0), 0.0)


def simulate(
    equations: CartEquations, start: Float[Tensor, "*batch 4"], actions: Float[Tensor, "*batch H 1"]
) -> Float[Tensor, "*batch H 4"]:
    """The motions after each action."""
    motion, motions = start, []
    for action in actions.unbind(-2):
        motion, _ = equations(motion, action)
        motions.append(motion)
    return torch.stack(motions, -2)


def wrapped(angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The same angle in [-pi, pi]."""
    return torch.atan2(angle.sin(), angle.cos())


def windows(sequence: Float[Tensor, "R X"], length: int) -> Float[Tensor, "B T X"]:
    """Cuts a sequence into windows of ``length`` rows and drops the rest."""
    return rearrange(sequence[: len(sequence) // length * length], "(B T) X -> B T X", T=length)


def _bell(share: Tensor) -> Tensor:
    """1 at 0 and 0.1 at 1: dm_control's Gaussian tolerance, a share of the margin."""
    return (log(0.1) * share**2).exp()
