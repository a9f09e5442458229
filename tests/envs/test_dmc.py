import os
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import dm_env
import numpy as np
import pytest
from dm_env import specs

from worldmodels.envs.base import PixelEnv
from worldmodels.envs.dmc import DmcEnv, default_camera
from worldmodels.envs.make import make_env


def swingup(**arguments) -> PixelEnv | None:
    """The environment; without EGL None, once the line that says so is right.

    Where there is no renderer, that line is what the tests below are about.
    """
    told = ""
    try:
        return make_env("dmc/cartpole-swingup", **arguments)
    except ValueError as error:
        told = str(error)
    assert "apt-get install libegl1 libgl1-mesa-dri" in told
    assert "\n" not in told
    return None


def forwards(steps):
    return [np.array([[a]], np.float32) for a in np.linspace(-1, 1, steps)]


def test_rows_are_the_suites_own_frames_and_summed_rewards():
    env = swingup(action_repeat=4, size=(32, 48))
    if env is None:
        return
    from dm_control import suite

    actions = forwards(5)
    seen = [env.reset(7)] + [env.step(action) for action in actions]
    raw = suite.load("cartpole", "swingup", task_kwargs={"random": 7})
    raw.reset()
    frames, rewards = [raw.physics.render(32, 48, camera_id=0).copy()], []
    for action in actions:
        rewards.append(sum(raw.step(action[0]).reward for _ in range(4)))
        frames.append(raw.physics.render(32, 48, camera_id=0).copy())
    np.testing.assert_array_equal([row.obs[0].transpose(1, 2, 0) for row in seen], frames)
    np.testing.assert_allclose([row.reward[0] for row in seen[1:]], rewards, rtol=1e-6)
    assert (frames[0] != frames[-1]).any()
    # Physics runs at 100 steps/s.
    assert env.frame_rate == pytest.approx(25)
    assert env.action_space == (1, False)
    env.close()


def test_it_renders_once_per_agent_step(monkeypatch):
    env = swingup(action_repeat=8)
    if env is None:
        return
    calls = []
    monkeypatch.setattr(
        DmcEnv, "render", lambda self: calls.append(1) or np.zeros((64, 64, 3), "u1")
    )
    env.reset(0)
    for action in forwards(3):
        env.step(action)
    assert len(calls) == 1 + 3


def test_the_same_seed_gives_the_same_frames_and_another_does_not():
    first, second = swingup(size=(16, 16)), swingup(size=(16, 16))
    if first is None or second is None:
        return
    one, other = (
        [env.reset(3).obs] + [env.step(a).obs for a in forwards(3)] for env in (first, second)
    )
    np.testing.assert_array_equal(one, other)
    assert (one[0] != first.reset(4).obs).any()


class Task(dm_env.Environment):
    """Ends after two steps, with the discount it is told."""

    def __init__(self, discount):
        self.discount, self.time = discount, 0
        self.task = SimpleNamespace(random=np.random.RandomState(0))

    def reset(self):
        self.time = 0
        return dm_env.restart({"x": np.array(0.5), "y": np.arange(2)})

    def step(self, action):
        self.time += 1
        observation = {"x": action[0], "y": np.arange(2)}
        if self.time < 2:
            return dm_env.transition(2.0, observation)
        return dm_env.TimeStep(dm_env.StepType.LAST, 3.0, self.discount, observation)

    def observation_spec(self):
        return {"x": specs.Array((), float), "y": specs.Array((2,), int)}

    def action_spec(self):
        return specs.BoundedArray((1,), float, -2.0, 4.0)

    def control_timestep(self):
        return 0.05


@pytest.mark.parametrize(("discount", "flags"), [(0.0, (True, False)), (1.0, (False, True))])
def test_an_end_with_discount_is_a_time_limit_and_without_it_terminal(discount, flags):
    env = DmcEnv(Task(discount), (16, 16))
    assert env.reset(seed=1)[0].tolist() == [0.5, 0, 1]
    first, second = env.step(np.array([0.25])), env.step(np.array([4.0]))
    assert first[0].tolist() == [0.25, 0, 1]
    assert first[1:4] == (2.0, False, False)
    assert second[1:4] == (3.0, *flags)
    assert env.metadata["render_fps"] == 20
    assert (env.action_space.low.item(), env.action_space.high.item()) == (-2, 4)


def test_a_machine_without_a_driver_gets_the_line_with_the_fix():
    # In a process of its own: the renderer is chosen once, when dm_control is imported.
    code = "from worldmodels.envs.make import make_env; make_env('dmc/cartpole-swingup')"
    broken = {"MUJOCO_GL": "egl", "__EGL_VENDOR_LIBRARY_FILENAMES": "/none"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | broken
    )
    told = done.stderr.strip().splitlines()[-1]
    assert told.startswith("ValueError: env 'dmc/cartpole-swingup' cannot load a renderer (")
    assert "apt-get install libegl1 libgl1-mesa-dri" in told


# PyOpenGL's and dm_control's own ways to say that a library or a renderer is missing.
@pytest.mark.parametrize("error", [ImportError, AttributeError, RuntimeError])
def test_whatever_keeps_the_renderer_from_loading_is_told_in_one_line(monkeypatch, error):
    def broken(name):
        raise error("no eglQueryString")

    fake = ModuleType("dm_control")
    fake.__getattr__ = broken
    monkeypatch.setitem(sys.modules, "dm_control", fake)
    monkeypatch.delitem(sys.modules, "dm_control.suite", raising=False)
    with pytest.raises(
        ValueError, match=r"^env 'dmc/x-y' cannot load a renderer \(.*MUJOCO_GL=egl"
    ):
        make_env("dmc/x-y")


def test_a_renderer_that_breaks_on_its_first_frame_is_found_on_making(monkeypatch):
    if swingup() is None:
        return

    def broken(self):
        raise RuntimeError("no context")

    monkeypatch.setattr(DmcEnv, "render", broken)
    with pytest.raises(ValueError, match=r"cannot render \(no context\): install EGL"):
        make_env("dmc/cartpole-swingup")


def test_a_missing_extra_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "dm_control", None)
    with pytest.raises(ValueError, match=r"^env 'dmc/x-y' needs dm_control .*worldmodels\[dmc\]'$"):
        make_env("dmc/x-y")


def test_an_unknown_task_suggests_the_nearest():
    if swingup() is None:
        return
    with pytest.raises(ValueError, match="did you mean dmc/cartpole-swingup,"):
        make_env("dmc/cartpole_swingup")
    with pytest.raises(
        ValueError, match="has no option 'height': choose one of camera, task_kwargs"
    ):
        make_env("dmc/cartpole-swingup", options={"height": 3})
    with pytest.raises(ValueError, match="obs_key='eye': dmc/cartpole-swingup has one image"):
        make_env("dmc/cartpole-swingup", obs_key="eye")


def test_a_camera_that_the_task_does_not_have_is_named():
    if swingup() is None:
        return
    with pytest.raises(ValueError, match=r"dmc/cartpole-swingup' has no camera=9 .*leave it out"):
        make_env("dmc/cartpole-swingup", options={"camera": 9})


def test_the_quadruped_is_filmed_by_the_camera_of_published_scores():
    # DreamerV3's environment file: camera 2 for the quadruped, 0 for every other domain.
    assert default_camera("quadruped") == 2
    assert {default_camera(domain) for domain in ("cartpole", "walker", "dog")} == {0}


def test_frames_may_be_larger_than_the_models_own_buffer():
    large = swingup(size=(600, 700))
    if large is None:
        return
    frame = large.reset(0).obs[0]
    assert frame.shape == (3, 600, 700)
    # The corners show the sky and the floor, not memory that was never drawn.
    small = make_env("dmc/cartpole-swingup", size=(60, 70)).reset(0).obs[0].astype(float)
    averaged = frame.reshape(3, 60, 10, 70, 10).mean((2, 4))
    assert np.abs(averaged - small).mean() < 8
