from functools import partial

import numpy as np
import pytest
from rollouts import play, random_policy

from worldmodels.envs.world_env import WorldEnv
from worldmodels.envs.worlds.cross_traffic import CrossTraffic, CrossTrafficState
from worldmodels.studies import oracles


def at(
    clock: tuple[int, int],
    turn: tuple[int, int] = (0, 0),
    drone: tuple[float, float] = (0.0, 0.0),
    colour: tuple[int, int] = (0, 1),
) -> CrossTrafficState:
    fields = (np.array([field]) for field in (drone, clock, colour, turn))
    return CrossTrafficState(*fields, np.array([3], dtype=np.uint64))


def after(world: CrossTraffic, state: CrossTrafficState, steps: int) -> CrossTrafficState:
    for _ in range(steps):
        state = world.step(state, np.zeros((len(state.key), 2))).state
    return state


@pytest.mark.parametrize(
    ("clock", "turn", "place"),
    [
        (0, 0, (0.13, -1.2)),
        (10, 0, (0.13, -0.2)),
        (10, 1, (0.13, -0.2)),
        # To the right after 1.07 along the approach, to the left after 1.33.
        (13, 1, (0.36, -0.13)),
        (13, -1, (0.13, 0.1)),
        (20, -1, (-0.54, 0.13)),
        (27, 1, (1.76, -0.13)),
    ],
)
def test_a_car_from_the_south_drives_in_its_lane_and_turns_into_the_new_one(clock, turn, place):
    world = CrossTraffic()
    cars = world.cars(at((clock, 0), (turn, 0)))[0]
    assert cars[0] == pytest.approx(place, abs=1e-12)
    mirrored = world.cars(at((0, clock), (0, turn)))[0]
    assert mirrored[1] == pytest.approx((-place[0], -place[1]), abs=1e-12)


def test_turns_are_drawn_at_the_tenth_step_with_even_chance_whatever_the_colour():
    world = CrossTraffic()
    start = world.reset(np.random.default_rng(0), 20_000)
    start = start._replace(clock=np.tile([9, 23], (20_000, 1)), turn=np.tile([0, 1], (20_000, 1)))
    state = after(world, start, 1)
    assert np.abs(state.turn[:, 0]).all()
    assert state.turn[:, 0].mean() == pytest.approx(0, abs=0.03)
    assert np.corrcoef(state.turn[:, 0], state.colour[:, 0])[0, 1] == pytest.approx(0, abs=0.03)
    assert (state.turn[:, 1] == 1).all()
    np.testing.assert_array_equal(state.colour, start.colour)


def test_in_the_deterministic_variant_blue_turns_right_and_orange_left():
    world = CrossTraffic(deterministic=True)
    assert after(world, at((9, 23), (0, 1), colour=(0, 1)), 1).turn.tolist() == [[-1, 1]]
    assert after(world, at((9, 23), (0, 1), colour=(1, 1)), 1).turn.tolist() == [[1, 1]]
    state = world.reset(np.random.default_rng(0), 2000)
    decided = state.turn != 0
    np.testing.assert_array_equal(decided, state.clock >= 10)
    assert (state.turn[decided] == 2 * state.colour[decided] - 1).all()


def test_a_car_appears_anew_every_28_steps_undecided_and_in_a_fresh_colour():
    world = CrossTraffic()
    start = world.reset(np.random.default_rng(0), 5000)
    start = start._replace(clock=np.tile([27, 13], (5000, 1)), turn=np.ones((5000, 2), dtype=int))
    state = after(world, start, 1)
    assert state.clock[0].tolist() == [0, 14]
    assert (state.turn[:, 0] == 0).all()
    assert state.colour[:, 0].mean() == pytest.approx(0.5, abs=0.03)
    changed = (state.colour != start.colour).mean(axis=0)
    assert changed == pytest.approx([0.5, 0.0], abs=0.03)


def test_fresh_keys_give_the_same_state_other_futures():
    world = CrossTraffic()
    state = world.reset(np.random.default_rng(0), 1)._replace(
        clock=np.array([[9, 23]]), turn=np.array([[0, 1]])
    )
    copies = [state._replace(key=np.array([key], dtype=np.uint64)) for key in range(1, 21)]
    turns = {int(after(world, copy, 1).turn[0, 0]) for copy in copies}
    assert turns == {-1, 1}


def test_the_drone_moves_12_hundredths_per_step_and_stays_over_the_picture():
    state = CrossTraffic().step(at((0, 14), drone=(0.95, 0.1)), np.array([[1.0, -0.5]])).state
    assert state.drone[0] == pytest.approx([1.0, 0.04], abs=1e-15)


def test_the_reward_is_a_half_at_15_hundredths_from_the_nearer_car():
    # After the step the car from the south is at (0.13, -0.7), the other one far away.
    world = CrossTraffic()
    for drone, reward in (((0.13, -0.7), 1.0), ((0.28, -0.7), 0.5), ((0.13, -0.4), 0.2)):
        step = world.step(at((4, 18), (0, 1), drone), np.zeros((1, 2)))
        assert step.reward == pytest.approx([reward])
        assert not step.terminated[0]


@pytest.mark.parametrize("deterministic", [False, True])
def test_the_scripted_drone_returns_six_times_a_random_one(deterministic):
    world = CrossTraffic(deterministic)
    start = world.reset(np.random.default_rng(0), 300)
    best = play(world, partial(oracles.cross_traffic, world), start).returns
    assert best.mean() == pytest.approx(31.5, abs=1.0)
    random = play(world, random_policy(world), start).returns
    assert random.mean() == pytest.approx(4.8, abs=0.5)


def test_an_episode_is_truncated_after_56_steps():
    env = WorldEnv(CrossTraffic())
    env.reset(seed=0)
    ends = [env.step(np.zeros(2, dtype=np.float32))[2:4] for _ in range(56)]
    assert ends == [(False, False)] * 55 + [(False, True)]


def centre_of(mask: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return columns.mean() + 0.5, rows.mean() + 0.5


def test_cars_show_in_their_colours_where_they_are_29_pixels_per_unit_from_the_middle():
    world = CrossTraffic()
    state = at((5, 19), (0, 1), drone=(0.8, 0.8))
    frame = world.render(state)[0].astype(int)
    cars = world.cars(state)[0]
    orange = frame[:, :, 0] - frame[:, :, 2] > 120
    blue = frame[:, :, 2] - frame[:, :, 0] > 110
    for mask, (x, y) in ((orange, cars[0]), (blue, cars[1])):
        assert mask.sum() > 20
        assert centre_of(mask) == pytest.approx((32 + 29 * x, 32 - 29 * y), abs=0.8)
    swapped = world.render(state._replace(colour=np.array([[1, 0]])))[0].astype(int)
    assert centre_of(swapped[:, :, 0] - swapped[:, :, 2] > 120) == pytest.approx(
        (32 + 29 * cars[1, 0], 32 - 29 * cars[1, 1]), abs=0.8
    )


def test_no_frame_shows_where_an_undecided_car_will_turn():
    world = CrossTraffic()
    frames = [world.render(at((10, 24), (turn, 1)))[0] for turn in (-1, 0, 1)]
    np.testing.assert_array_equal(frames[0], frames[1])
    np.testing.assert_array_equal(frames[2], frames[1])
    later = [world.render(at((14, 0), (turn, 0)))[0] for turn in (-1, 1)]
    assert (later[0] != later[1]).any(-1).sum() > 40


def test_the_drone_is_a_white_ring():
    frame = CrossTraffic().render(at((0, 27), (0, 1), drone=(-0.6, 0.6)))[0]
    white = (frame > 185).all(axis=2)
    assert white.sum() >= 12
    assert centre_of(white) == pytest.approx((32 - 29 * 0.6, 32 - 29 * 0.6), abs=0.5)
    assert not white[14, 14]
