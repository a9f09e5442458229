import numpy as np
import pytest
from gymnasium import spaces
from sample_envs import (
    Broken,
    Careless,
    Clock,
    Lucky,
    Rendered,
    clocks,
    dict_clocks,
    rendered_clocks,
)

from worldmodels.envs.vector import VectorEnvs
from worldmodels.envs.wrappers import SingleEnvs

SHAPE = (3, 16, 16)
MODES = ("NEXT_STEP", "SAME_STEP", "DISABLED")


def choices(*numbers):
    return np.eye(3, dtype=np.float32)[list(numbers)]


def rows(env, steps):
    """``(frame value, reward, first, terminal, last)`` of copy 0 under action 1."""
    seen = [env.reset(0)] + [env.step(choices(*[1] * env.num_envs)) for _ in range(steps)]
    return [(int(row.obs[0, 0, 0, 0]), *(float(field[0]) for field in row[1:])) for row in seen]


def test_an_episode_ends_with_its_last_frame_and_the_next_row_starts_a_new_one():
    env = SingleEnvs([Clock(length=2)], "clock", SHAPE)
    assert rows(env, 4) == [
        (0, 0, 1, 0, 0),
        (11, 1, 0, 0, 0),
        (21, 2, 0, 1, 1),
        (0, 0, 1, 0, 0),
        (11, 1, 0, 0, 0),
    ]


def test_truncation_is_last_but_not_terminal():
    env = SingleEnvs([Clock(length=1, terminates=False)], "clock", SHAPE)
    assert rows(env, 1)[1] == (11, 1, 0, 0, 1)


def test_a_time_limit_truncates_after_that_many_agent_steps_of_every_episode():
    env = SingleEnvs([Clock(length=100)], "clock", SHAPE, action_repeat=2, time_limit=2)
    assert rows(env, 5) == 2 * [(0, 0, 1, 0, 0), (21, 3, 0, 0, 0), (41, 7, 0, 0, 1)]


def test_an_end_on_the_time_limit_itself_stays_terminal():
    env = SingleEnvs([Clock(length=2)], "clock", SHAPE, time_limit=2)
    assert rows(env, 2)[2] == (21, 2, 0, 1, 1)


def test_repeats_sum_rewards_and_stop_at_the_end_of_the_episode():
    env = SingleEnvs([Clock(length=5)], "clock", SHAPE, action_repeat=2)
    assert rows(env, 3) == [(0, 0, 1, 0, 0), (21, 3, 0, 0, 0), (41, 7, 0, 0, 0), (51, 5, 0, 1, 1)]


def test_a_rendered_environment_is_rendered_once_per_row_whatever_the_repeat():
    inner = Rendered(length=8, render_mode="rgb_array")
    env = SingleEnvs([inner], "rendered", SHAPE, action_repeat=4)
    assert rows(env, 2) == [(0, 0, 1, 0, 0), (41, 10, 0, 0, 0), (81, 26, 0, 1, 1)]
    assert inner.renders == 3


def test_the_frame_rate_counts_the_repeats():
    assert SingleEnvs([Clock()], "clock", SHAPE, action_repeat=4).frame_rate == 20 / 4
    quiet = Clock()
    quiet.metadata = {}
    assert SingleEnvs([quiet], "clock", SHAPE, action_repeat=2).frame_rate == 30 / 2


def test_each_copy_takes_its_own_row_of_actions():
    env = SingleEnvs([Clock(), Clock(), Clock()], "clock", SHAPE)
    env.reset(0)
    assert env.step(choices(2, 0, 1)).obs[:, 0, 3, 3].tolist() == [12, 10, 11]


def test_numbers_are_scaled_to_the_bounds_and_clipped():
    box = spaces.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32))
    inner = Clock(length=9, actions=box)
    env = SingleEnvs([inner], "clock", SHAPE)
    env.reset(0)
    for action in ([-1, -1], [0, 0], [0.5, -0.5], [7, -7]):
        env.step(np.array([action], np.float32))
    np.testing.assert_array_equal(inner.taken, [[-2, 0], [0, 5], [1, 2.5], [2, 0]])
    assert env.action_space == (2, False)
    assert all(box.contains(action) for action in inner.taken)


def test_a_box_of_any_shape_and_of_whole_numbers_is_reached():
    inner = Clock(length=9, actions=spaces.Box(0, 4, (2, 1), np.int64))
    env = SingleEnvs([inner], "clock", SHAPE)
    env.reset(0)
    env.step(np.array([[-0.4, 0.6]], np.float32))
    assert env.action_space == (2, False)
    assert inner.taken[0].tolist() == [[1], [3]]
    assert inner.taken[0].dtype == np.int64


def test_choices_start_where_the_space_starts():
    inner = Clock(actions=spaces.Discrete(3, start=5))
    env = SingleEnvs([inner], "clock", SHAPE)
    env.reset(0)
    env.step(choices(2))
    assert inner.taken == [7]
    assert env.action_space == (3, True)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.MultiDiscrete([2, 3]), "only Discrete and Box"),
        (spaces.MultiBinary(4), "only Discrete and Box"),
        (spaces.Dict({"a": spaces.Discrete(2)}), "only Discrete and Box"),
        (spaces.Box(-np.inf, np.inf, (2,)), "unbounded"),
        (spaces.Box(-np.finfo(np.float32).max, 1, (2,)), "unbounded"),
    ],
)
def test_other_action_spaces_are_refused_by_name(space, words):
    with pytest.raises(ValueError, match=rf"^odd has the .*{words}[^\n]*$"):
        SingleEnvs([Clock(actions=space)], "odd", SHAPE)


def test_wrong_actions_are_refused():
    env = SingleEnvs([Clock(actions=spaces.Box(-1, 1, (2,)))], "clock", SHAPE)
    with pytest.raises(RuntimeError, match="call reset first"):
        env.step(np.zeros((1, 2), np.float32))
    env.reset(0)
    with pytest.raises(ValueError, match=r"shape \(1, 3\); give \(N, 2\)"):
        env.step(np.zeros((1, 3), np.float32))
    with pytest.raises(ValueError, match="2 actions for 1 environments"):
        env.step(np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match="not finite"):
        env.step(np.array([[0, np.nan]], np.float32))


@pytest.mark.parametrize("make", [clocks, dict_clocks])
def test_every_autoreset_mode_gives_the_rows_of_single_environments(make):
    single = SingleEnvs([Clock(length) for length in (1, 2, 3)], "clocks", SHAPE)
    batches = [VectorEnvs(make(3, mode), "clocks", SHAPE) for mode in MODES]
    expected = [single.reset(0)]
    seen = [[env.reset(0)] for env in batches]
    rng = np.random.default_rng(0)
    for _ in range(40):
        action = choices(*rng.integers(3, size=3))
        expected.append(single.step(action))
        for history, env in zip(seen, batches):
            history.append(env.step(action))
    ends = np.sum([row.is_last for row in expected], 0)
    assert ends.tolist() == [20, 13, 10]
    # Compared at the end: an array that a later step overwrote would show here.
    for history in seen:
        for ours, wanted in zip(history, expected):
            for field, value in zip(ours, wanted):
                np.testing.assert_array_equal(field, value)
                assert field.dtype == value.dtype
                assert field.flags.c_contiguous


@pytest.mark.parametrize("mode", MODES)
def test_a_vector_environment_truncates_without_terminating(mode):
    env = VectorEnvs(clocks(1, mode, terminates=False), "clocks", SHAPE)
    assert rows(env, 3) == 2 * [(0, 0, 1, 0, 0), (11, 1, 0, 0, 1)]


@pytest.mark.parametrize("mode", ["NEXT_STEP", "DISABLED"])
def test_a_vector_environment_that_renders_gives_the_same_rows(mode):
    env = VectorEnvs(rendered_clocks(2, mode), "rendered", SHAPE)
    assert rows(env, 4) == [
        (0, 0, 1, 0, 0),
        (11, 1, 0, 1, 1),
        (0, 0, 1, 0, 0),
        (11, 1, 0, 1, 1),
        (0, 0, 1, 0, 0),
    ]


def test_rows_keep_their_frames_while_the_environment_reuses_its_array():
    env = SingleEnvs([Careless(length=9)], "careless", SHAPE)
    seen = [env.reset(0)] + [env.step(choices(0)) for _ in range(3)]
    assert [int(row.obs.max()) for row in seen] == [0, 10, 20, 30]
    before = seen[1].is_last.copy()
    seen[2].is_last[:] = True
    assert not env.step(choices(0)).is_first[0]
    assert not before[0]


def test_the_same_seed_gives_the_same_frames_and_copies_differ():
    def play(seed):
        env = SingleEnvs([Lucky(2), Lucky(2)], "lucky", SHAPE)
        return np.stack([env.reset(seed).obs] + [env.step(choices(0, 0)).obs for _ in range(9)])

    first = play(3)
    np.testing.assert_array_equal(first, play(3))
    assert (first[0] != play(4)[0]).any()
    assert (first[0, 0] != first[0, 1]).any()
    np.testing.assert_array_equal(first[0, 1], play(4)[0, 0])
    assert (first[0, 0] != first[3, 0]).any()


@pytest.mark.parametrize(("reward", "shown"), [(np.nan, "nan"), (-np.inf, "-inf"), (None, "None")])
def test_a_reward_that_is_no_finite_number_names_the_step(reward, shown):
    env = SingleEnvs([Broken(reward=reward)], "broken", SHAPE)
    env.reset(0)
    env.step(choices(0))
    with pytest.raises(ValueError, match=rf"^broken gave the reward {shown} at step 2 of"):
        env.step(choices(0))


@pytest.mark.parametrize("mode", MODES)
def test_a_vector_environments_reward_is_checked_too(mode):
    inner = clocks(2, mode)
    inner.envs[1] = Broken(reward=np.inf)
    env = VectorEnvs(inner, "broken", SHAPE)
    env.reset(0)
    env.step(choices(0, 0))
    with pytest.raises(ValueError, match=r"^broken gave the reward inf at step 2 of"):
        env.step(choices(0, 0))


@pytest.mark.parametrize(
    "frame",
    [np.zeros((16, 17, 3), np.uint8), np.zeros((16, 16, 3), np.float32), np.zeros(5, np.uint8)],
)
def test_a_frame_that_changes_is_refused(frame):
    env = SingleEnvs([Broken(frame=frame)], "broken", SHAPE)
    env.reset(0)
    env.step(choices(0))
    with pytest.raises(ValueError, match=r"^broken changed its frame from uint8 \(16, 16, 3\) to"):
        env.step(choices(0))
