"""Scripted policies and exact returns of the built-in worlds, from their exact states.

They are references for tests and studies: how much a world pays to who knows its state. Each
policy takes the world and the state of N copies and returns N actions.
"""

import numpy as np
from jaxtyping import Float, Int

from worldmodels.envs.worlds.arm import ArmN, ArmState
from worldmodels.envs.worlds.baoding import BaodingPix, BaodingState
from worldmodels.envs.worlds.cart_swing import CartSwing, CartSwingState
from worldmodels.envs.worlds.cliff_hill import CliffHill, CliffHillState
from worldmodels.envs.worlds.cross_traffic import CrossTraffic, CrossTrafficState
from worldmodels.envs.worlds.detour_maze import MOVES, DetourMaze, DetourMazeState
from worldmodels.envs.worlds.glitch_box import GlitchBox, GlitchBoxState
from worldmodels.envs.worlds.gust_road import GustRoad, GustRoadState
from worldmodels.envs.worlds.two_rooms import TwoRooms, TwoRoomsState


def arm(world: ArmN, state: ArmState) -> Float[np.ndarray, "N A"]:
    """Moves the tip straight to the target; optimal without an obstacle, stuck at one.

    Reference: Wampler 1986, "Manipulator inverse kinematic solutions based on vector
    formulations and damped least-squares methods".
    """
    joints = world.joints(state)
    lever = joints[:, -1:] - joints[:, :-1]
    jacobian = np.stack([-lever[:, :, 1], lever[:, :, 0]], axis=1)  # N 2 A
    error = (state.target - joints[:, -1])[:, :, None]
    square = jacobian @ jacobian.transpose(0, 2, 1) + 0.02 * np.eye(2)
    turn = (jacobian.transpose(0, 2, 1) @ np.linalg.solve(square, error))[:, :, 0]
    # One common factor keeps the tip's direction where a joint is too slow.
    fastest = np.maximum(np.abs(turn).max(axis=1, keepdims=True), world.speed)
    return turn / fastest


def baoding(world: BaodingPix, state: BaodingState) -> Float[np.ndarray, "N A"]:
    """The least-squares finger forces that take both balls to their targets."""
    ahead = world.targets(state.phase + world.turn)
    wanted = 0.5 * (ahead - state.position)
    wanted += 0.5 * (ahead - world.targets(state.phase)) - 0.9 * state.velocity
    force = (wanted - world.passive_force(state.position)).reshape(-1, 4, 1)
    grip = world.finger_force(state.position).reshape(-1, 4, 8)
    square = grip @ grip.transpose(0, 2, 1) + 1e-6 * np.eye(4)
    action = (grip.transpose(0, 2, 1) @ np.linalg.solve(square, force))[:, :, 0]
    return action / np.maximum(np.abs(action).max(axis=1, keepdims=True), 1.0)


def cart_swing(world: CartSwing, state: CartSwingState) -> Float[np.ndarray, "N A"]:
    """A hand-made controller that returns about 850 per episode: pumps energy, then balances.

    Reference: Astrom and Furuta 2000, "Swinging up a pendulum by energy control".
    """
    position, angle, velocity, spin = state
    tilt = (angle + np.pi) % (2 * np.pi) - np.pi
    weight = world.pole_mass * world.gravity * world.pole_length / 2
    energy = 0.5 * world.hinge_inertia * spin**2 + weight * (np.cos(tilt) - 1)
    pump = 2.3 * energy * spin * np.cos(tilt) - 0.84 * position - 0.72 * velocity
    balance = 1.63 * position + 11.24 * tilt + 2.1 * velocity + 2.87 * spin
    return np.clip(np.where(np.abs(tilt) < 0.31, balance, pump), -1.0, 1.0)[:, None]


def cliff_hill(world: CliffHill, state: CliffHillState) -> Float[np.ndarray, "N A"]:
    """Walks up at full speed and stops just short of the edge, or on the summit: optimal."""
    # The margin absorbs the rounding of a float32 action.
    left = _summit(state) - 1e-6 - state.position
    return np.clip(left / world.speed, -1.0, 1.0)[:, None]


def cliff_hill_return(world: CliffHill, state: CliffHillState) -> Float[np.ndarray, " N"]:
    """The least upper bound of the undiscounted return of a whole episode from each start."""
    steps = np.arange(1, world.time_limit + 1)
    climb = state.position[:, None] + world.speed * steps  # N T
    climb = np.minimum(climb, _summit(state)[:, None])
    return np.where(state.fallen, 0.0, climb.sum(axis=1))


def _summit(state: CliffHillState) -> Float[np.ndarray, " N"]:
    """The highest position that can be reached on foot."""
    return np.where(state.position <= state.edge, state.edge, 1.0)


def cross_traffic(world: CrossTraffic, state: CrossTrafficState) -> Float[np.ndarray, "N A"]:
    """Follows the older car, and changes to the next one before it leaves the picture."""
    # As if every car that has not decided yet went straight on.
    coming = world.cars(state) + world.car_speed * world.headings(state)
    older = np.where(state.clock.max(axis=1) > 20, state.clock.argmin(1), state.clock.argmax(1))
    gap = coming[np.arange(len(older)), older] - state.drone
    return np.clip(gap / world.speed, -1.0, 1.0)


def detour_maze(world: DetourMaze, state: DetourMazeState) -> Int[np.ndarray, " N"]:
    """A shortest way to the treasure that avoids the coin: optimal."""
    around = np.pad(world.distance_to_goal, 1, constant_values=np.inf)
    row = state.row[:, None] + MOVES[:, 0] + 1
    column = state.column[:, None] + MOVES[:, 1] + 1
    return around[row, column].argmin(axis=1)


def glitch_box(world: GlitchBox, state: GlitchBoxState) -> Float[np.ndarray, "N A"]:
    """Straight outwards at full speed, and to rest 0.01 before the rim."""
    distance = np.maximum(np.hypot(state.position[:, 0], state.position[:, 1]), 1e-9)[:, None]
    outwards = state.position / distance
    wanted = np.clip(0.5 * (world.radius - 0.01 - distance), -world.speed, world.speed)
    push = (wanted * outwards - world.drag * state.velocity) / ((1 - world.drag) * world.speed)
    return push / np.maximum(np.abs(push).max(axis=1, keepdims=True), 1.0)


def gust_road(world: GustRoad, state: GustRoadState) -> Float[np.ndarray, "N A"]:
    """Steers to the road's middle at the next step, the largest expected reward of one step."""
    gap = world.middle(state.phase, state.travelled + 1) - state.position
    wanted = (gap - world.drag * state.velocity) / world.steering
    return np.clip(wanted, -1.0, 1.0)[:, None]


def two_rooms(
    world: TwoRooms, state: TwoRoomsState, place: Float[np.ndarray, "N 2"]
) -> Float[np.ndarray, "N A"]:
    """Walks to ``place``, through the door where it must, and stays there."""
    x, y = state.position.T
    across = place[:, 0]
    at_door = np.abs(y) < world.door - 0.02
    same_room = (x * across > 0) & (np.minimum(np.abs(x), np.abs(across)) >= world.wall)
    straight = same_room | (at_door & (np.abs(across) < world.wall))
    # Two way points on the door's axis: one before the wall, one behind it.
    step_in = 2.5 * world.wall
    aim_x = np.where(at_door, np.clip(across, -step_in, step_in), step_in * np.sign(x))
    aim = np.stack([aim_x, np.zeros_like(aim_x)], axis=1)
    gap = np.where(straight[:, None], place, aim) - state.position
    return gap / np.maximum(np.abs(gap).max(axis=1, keepdims=True), world.speed)
