import importlib.util

import gymnasium
import numpy as np
import pytest

from worldmodels.envs.make import make_env
from worldmodels.envs.vector import VectorEnvs
from worldmodels.envs.wrappers import SingleEnvs


def play(env, actions):
    seen = [env.reset(5)] + [env.step(action) for action in actions]
    env.close()
    return seen


def values(env, steps):
    action = np.eye(env.action_space.dim, dtype=np.float32)[[0] * env.num_envs]
    seen = play(env, [action] * steps)
    return [row.obs[:, 0, -1, -1].tolist() for row in seen]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"id": "Cartpole-v1"}, "unknown environment 'Cartpole-v1': did you mean CartPole-v1"),
        ({"id": "CartPole"}, "unknown environment 'CartPole': did you mean CartPole-v1"),
        ({"id": "worldmodels/Clif-v0"}, "did you mean worldmodels/CliffHill-v0"),
        ({"id": "qqqq"}, r"unknown environment 'qqqq': see gymnasium\.pprint_registry"),
        ({"id": "no_such_module:make"}, "env 'no_such_module:make': cannot import no_such_module"),
        ({"id": "sample_envs:nothing"}, "sample_envs has no 'nothing'"),
        ({"id": "sample_envs:np"}, "np is a module; name a function or class"),
        ({"id": "sample_envs:a_number"}, "env 'sample_envs:a_number' made a int: return a gym"),
        ({"id": "sample_envs:Blind"}, "shows no image: it observes Box.* render_mode is None"),
        ({"id": "sample_envs:Rendered"}, "shows no image: .* or render_mode='rgb_array'"),
        ({"id": "sample_envs:TwoCameras"}, r"several images \['left', 'right'\]: choose one with"),
        ({"id": "sample_envs:Clock", "obs_key": "eye"}, "obs_key='eye': .* leave obs_key out"),
        (
            {"id": "sample_envs:Clock", "options": {"size": 1}},
            "has no option 'size': choose one of",
        ),
        ({"id": "worldmodels/Counting-v0", "options": {"wind": 1}}, "has no option 'wind'"),
        ({"id": "sample_envs:Clock", "num_envs": 0}, "num_envs=0: choose 1 or more"),
        ({"id": "sample_envs:Clock", "action_repeat": 0}, "action_repeat=0: choose 1 or more"),
        ({"id": "sample_envs:Clock", "time_limit": 0}, "time_limit=0: choose 1 or more"),
        ({"id": "sample_envs:Clock", "size": (64, 15)}, r"size=\(64, 15\): choose at least 16"),
        ({"id": "sample_envs:Clock", "channels": 4}, r"channels=4: choose 3 \(RGB\) or 1 \(grey\)"),
        ({"id": "sample_envs:mute_clocks"}, r"does not declare how it resets: set metadata"),
        ({"id": "sample_envs:eight_clocks"}, "made 8 copies, num_envs=1: set num_envs=8"),
        ({"id": "sample_envs:clocks", "time_limit": 3}, "is a batch made by clocks: let clocks"),
        ({"id": "sample_envs:clocks", "action_repeat": 3}, "action_repeat at 1"),
        ({"id": "sample_envs:counting_pixels", "num_envs": 2, "channels": 1}, "and channels=3"),
        (
            {"id": "sample_envs:rendered_clocks", "options": {"mode": "SAME_STEP"}},
            "renders with AutoresetMode.SAME_STEP, which hides the last frame",
        ),
    ],
)
def test_a_mistake_stops_with_one_line_that_names_it(arguments, line):
    with pytest.raises(ValueError, match=line) as caught:
        make_env(**arguments)
    assert "\n" not in str(caught.value)


def test_a_factorys_class_is_made_once_per_copy_with_its_options():
    env = make_env("sample_envs:Clock", 2, size=(16, 16), action_repeat=2, options={"length": 4})
    assert isinstance(env, SingleEnvs)
    assert env.name == "sample_envs:Clock"
    assert values(env, 3) == [[0, 0], [20, 20], [40, 40], [0, 0]]
    assert env.envs[0] is not env.envs[1]


def test_a_factory_of_vector_environments_is_given_the_number_of_copies():
    env = make_env("sample_envs:clocks", 3, size=(16, 16), options={"mode": "SAME_STEP"})
    assert isinstance(env, VectorEnvs)
    assert values(env, 2) == [[0, 0, 0], [10, 10, 10], [0, 20, 20]]


def test_a_factory_may_return_the_projects_own_rows():
    env = make_env("sample_envs:counting_pixels", 2)
    assert values(env, 2) == [[0, 0], [1, 1], [2, 2]]


def test_a_vector_environment_that_ignores_the_mask_is_found_out():
    env = make_env("sample_envs:deaf_clocks", 2, size=(16, 16))
    with pytest.raises(ValueError, match=r"ignores options.'reset_mask'.: make it with autoreset"):
        values(env, 2)


def test_the_image_is_taken_from_the_named_key_of_a_dict():
    right = make_env("sample_envs:TwoCameras", size=(16, 16), obs_key="right")
    assert values(right, 1) == [[200], [210]]
    assert values(make_env("sample_envs:DictClock", size=(16, 16)), 1) == [[0], [10]]


def test_what_observes_no_image_is_rendered():
    options = {"render_mode": "rgb_array"}
    env = make_env("sample_envs:Rendered", size=(16, 16), options=options)
    assert values(env, 2) == [[0], [10], [20]]


def test_a_registered_environment_is_asked_to_render():
    gymnasium.register("test/Rendered-v0", "sample_envs:Rendered", max_episode_steps=2)
    env = make_env("test/Rendered-v0", size=(16, 16))
    assert values(env, 4) == [[0], [10], [20], [0], [10]]
    longer = make_env("test/Rendered-v0", size=(16, 16), options={"max_episode_steps": 1})
    assert values(longer, 3) == [[0], [10], [0], [10]]


def test_an_id_behind_its_module_is_imported_and_made():
    gymnasium.register("test/Clock-v0", "sample_envs:Clock")
    env = make_env("sample_envs:test/Clock-v0", size=(16, 16))
    assert (env.name, values(env, 1)) == ("test/Clock-v0", [[0], [10]])


@pytest.mark.parametrize("timing", [{}, {"action_repeat": 3, "time_limit": 4}])
@pytest.mark.parametrize("name", ["CliffHill", "CartSwing"])
def test_a_built_in_world_is_stepped_as_a_batch_and_equals_its_single_copies(name, timing):
    id = f"worldmodels/{name}-v0"
    fast = make_env(id, 3, size=(64, 64), **timing)
    singles = [gymnasium.make(id, disable_env_checker=True) for _ in range(3)]
    slow = SingleEnvs(singles, id, (3, 64, 64), **timing)
    assert isinstance(fast, VectorEnvs)
    assert fast.frame_rate == slow.frame_rate
    assert fast.action_repeat == slow.action_repeat == timing.get("action_repeat", 1)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (11, 3, 1)).astype(np.float32)
    for ours, theirs in zip(play(fast, actions), play(slow, actions)):
        for field, expected in zip(ours, theirs):
            np.testing.assert_array_equal(field, expected)


@pytest.mark.parametrize("copies", [1, 2])
def test_arguments_reach_the_built_in_world(copies):
    options = {"arguments": {"links": 5}}
    env = make_env("worldmodels/ArmN-v0", copies, options=options)
    assert env.action_space.dim == 5
    wrong = {"arguments": {"joints": 5}}
    with pytest.raises(TypeError, match="ArmN has no argument 'joints': choose one of links, "):
        make_env("worldmodels/ArmN-v0", copies, options=wrong)


def test_cart_pole_is_seen_through_its_renderer_or_names_the_missing_one():
    env = make_env("CartPole-v1", size=(40, 60), action_repeat=2)
    assert isinstance(env, SingleEnvs)
    if importlib.util.find_spec("pygame") is None:
        with pytest.raises(
            ValueError,
            match=r"^CartPole-v1 cannot render: pygame is not installed.*worldmodels\[classic\]",
        ):
            env.reset(0)
        return
    first, *_, last = play(env, 3 * [np.array([[1, 0]], np.float32)])
    assert (env.frame_rate, last.reward.tolist()) == (25, [2])
    # White sky, a dark cart, and a pole that moved.
    assert first.obs.max() == 255
    assert first.obs.min() < 50
    assert (first.obs != last.obs).any()
