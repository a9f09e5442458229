import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import worldmodels.envs  # noqa: F401  (registers the worlds)
from worldmodels.envs.counting import Counting, CountingState
from worldmodels.envs.world_env import WorldEnv, WorldVectorEnv
from worldmodels.envs.worlds.arm import ArmN
from worldmodels.envs.worlds.baoding import BaodingPix
from worldmodels.envs.worlds.cart_swing import CartSwing
from worldmodels.envs.worlds.cliff_hill import CliffHill
from worldmodels.envs.worlds.cross_traffic import CrossTraffic
from worldmodels.envs.worlds.detour_maze import DetourMaze
from worldmodels.envs.worlds.glitch_box import GlitchBox
from worldmodels.envs.worlds.gust_road import GustRoad
from worldmodels.envs.worlds.two_rooms import TwoRooms

WORLDS = [
    CliffHill(),
    CartSwing(),
    Counting(),
    DetourMaze(),
    ArmN(),
    GustRoad(),
    GlitchBox(),
    BaodingPix(),
    CrossTraffic(),
    TwoRooms(),
]
IDS = [f"worldmodels/{type(world).__name__}-v0" for world in WORLDS]


class DrawnCounting(Counting):
    """Counts the frames that were drawn."""

    drawn = 0

    def render(self, state: CountingState) -> np.ndarray:
        self.drawn += len(state.steps)
        return super().render(state)


def actions_of(world, rng: np.random.Generator, num: int) -> np.ndarray:
    if world.action_space.discrete:
        return rng.integers(world.action_space.dim, size=num)
    return rng.uniform(-1, 1, (num, world.action_space.dim))


@pytest.mark.parametrize("name", IDS)
def test_gymnasiums_checker_has_nothing_to_say(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(name, render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize("name", IDS)
def test_the_vector_face_equals_gymnasiums_batch_of_single_faces(name):
    options = {"time_limit": 4, "action_repeat": 3}
    fast = gymnasium.make_vec(name, num_envs=3, **options)
    slow = gymnasium.make_vec(name, num_envs=3, vectorization_mode="sync", **options)
    assert fast.metadata["autoreset_mode"] == slow.metadata["autoreset_mode"]
    assert fast.metadata["render_fps"] == slow.metadata["render_fps"]
    assert fast.observation_space == slow.observation_space
    assert fast.action_space == slow.action_space
    rows = [(fast.reset(seed=7), slow.reset(seed=7))]
    fast.action_space.seed(0)
    for _ in range(13):
        action = fast.action_space.sample()
        rows.append((fast.step(action), slow.step(action)))
    for ours, theirs in rows:
        for field, expected in zip(ours[:-1], theirs[:-1], strict=True):
            np.testing.assert_array_equal(field, expected)
        assert ours[-1].keys() == theirs[-1].keys()
        for key, value in theirs[-1].items():
            np.testing.assert_array_equal(ours[-1][key], value)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: type(world).__name__)
def test_a_step_is_a_function_of_its_arguments_and_leaves_them_alone(world):
    rng = np.random.default_rng(0)
    state = world.reset(rng, 5)
    before = [field.copy() for field in state]
    action = actions_of(world, rng, 5)
    first, frames = world.step(state, action), world.render(state)
    frames[:] = 7
    second = world.step(state, action)
    for field, copy in zip(state, before, strict=True):
        np.testing.assert_array_equal(field, copy)
    np.testing.assert_array_equal(first.reward, second.reward)
    for field, again in zip(first.state, second.state, strict=True):
        np.testing.assert_array_equal(field, again)
    assert not (world.render(state) == 7).all()


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: type(world).__name__)
def test_copies_do_not_influence_each_other(world):
    rng = np.random.default_rng(1)
    batch = world.reset(rng, 6)
    alone = [type(batch)(*(field[[i]] for field in batch)) for i in range(6)]
    for _ in range(40):
        action = actions_of(world, rng, 6)
        batch = world.step(batch, action).state
        alone = [world.step(one, action[[i]]).state for i, one in enumerate(alone)]
    np.testing.assert_array_equal(
        world.render(batch), np.concatenate([world.render(one) for one in alone])
    )


def test_action_repeat_sums_rewards_and_draws_one_frame():
    world = DrawnCounting(time_limit=100)
    env = WorldVectorEnv(world, num_envs=2, action_repeat=4)
    env.reset()
    assert world.drawn == 2
    frame, reward, *_ = env.step(np.array([0, 1]))
    assert reward.tolist() == [1 + 2 + 3 + 4] * 2
    assert frame[:, 20, 20, 0].tolist() == [4, 4]
    assert world.drawn == 4
    assert env.metadata["render_fps"] == 2.5


def test_an_episode_that_terminates_within_a_repeat_stays_at_its_end():
    env = WorldEnv(Counting(length=6, time_limit=100), action_repeat=4)
    env.reset()
    env.step(0)
    _, reward, terminated, truncated, info = env.step(0)
    assert (reward, terminated, truncated, info["position"]) == (5 + 6, True, False, 6)


def test_a_repeat_that_does_not_divide_the_worlds_limit_shortens_the_last_step():
    env = WorldEnv(Counting(time_limit=10), action_repeat=4)
    env.reset()
    rows = [env.step(0) for _ in range(3)]
    assert [row[1] for row in rows] == [10, 26, 9 + 10]
    assert [row[3] for row in rows] == [False, False, True]


def test_a_time_limit_counts_agent_steps_and_may_exceed_the_worlds_own():
    env = WorldEnv(Counting(time_limit=3), action_repeat=2, time_limit=5)
    env.reset()
    assert [env.step(0)[3] for _ in range(5)] == [False] * 4 + [True]


def test_copies_autoreset_one_by_one():
    env = WorldVectorEnv(Counting(length=2), num_envs=3)
    env.reset()
    env._episodes.state = CountingState(np.array([0, 1, 0]), np.full(3, -1))
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    positions = [env.step(np.zeros(3, dtype=int))[4]["position"].tolist() for _ in range(4)]
    assert positions == [[1, 2, 1], [2, 0, 2], [0, 1, 0], [1, 2, 1]]


def test_seeds_fix_the_starts_and_none_goes_on():
    env = WorldVectorEnv(CliffHill(), num_envs=2)
    first = env.reset(seed=3)[1]["position"]
    second = env.reset()[1]["position"]
    assert len({*first, *second}) == 4
    np.testing.assert_array_equal(env.reset(seed=[3, 4])[1]["position"], first)
    np.testing.assert_array_equal(env.reset()[1]["position"], second)
    only_one = env.reset(seed=[3, None])[1]["position"]
    assert only_one[0] == first[0]
    assert only_one[1] not in {first[1], second[1]}


def test_a_world_with_other_constants_can_be_given():
    class NearCliff(CliffHill):
        distance, reach = 0.05, 0.1

    env = gymnasium.make("worldmodels/CliffHill-v0", world=NearCliff(above_share=0.0))
    _, start = env.reset(seed=0)
    steps = int((start["edge"] - start["position"]) / NearCliff.speed) + 1
    infos = [env.step(np.ones(1, dtype=np.float32))[4] for _ in range(steps)]
    assert [info["fell"] for info in infos[-2:]] == [False, True]


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(2), r"action has shape \(2,\) for 2 envs; give shape \(2, 1\)"),
        (np.array([[0.0], [np.nan]]), r"action contains nan; give numbers in \[-1, 1\]"),
    ],
)
def test_a_bad_continuous_action_is_named(action, message):
    env = WorldVectorEnv(CliffHill(), num_envs=2)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)


def test_a_choice_out_of_range_is_named():
    env = WorldEnv(Counting())
    env.reset()
    with pytest.raises(ValueError, match="action contains 3; give indices 0 to 2"):
        env.step(3)


def test_mistakes_at_construction_are_named():
    with pytest.raises(ValueError, match="Counting: action_repeat=0: choose 1 or more"):
        WorldEnv(Counting(), action_repeat=0)
    with pytest.raises(ValueError, match="Counting: time_limit=-1: choose 1 or more"):
        WorldVectorEnv(Counting(), time_limit=-1)
    with pytest.raises(TypeError, match="give a World or the path"):
        WorldEnv("collections:OrderedDict")
    with pytest.raises(ValueError, match="built already; leave them out"):
        WorldEnv(Counting(), arguments={"length": 3})
    with pytest.raises(ValueError, match="3 seeds for 2 envs; give one seed per env"):
        WorldVectorEnv(Counting(), num_envs=2).reset(seed=[1, 2, 3])


def test_stepping_before_the_first_reset_is_refused():
    with pytest.raises(RuntimeError, match="call reset"):
        WorldVectorEnv(Counting()).step(np.zeros(1, dtype=int))


def test_gymnasium_finds_the_worlds_by_module_and_id():
    env = gymnasium.make("worldmodels.envs:worldmodels/Counting-v0")
    env.reset()
    assert env.step(2)[1] == 1.0
