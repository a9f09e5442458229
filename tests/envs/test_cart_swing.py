import json
import os
import subprocess
import sys

import numpy as np
import pytest

from worldmodels.envs.world_env import WorldEnv
from worldmodels.envs.worlds.cart_swing import CartSwing, CartSwingState
from worldmodels.studies import oracles

# dm_control runs in its own process: without rendering, so that no test that renders is affected.
DM_CONTROL = """
import json, sys
import numpy as np
from dm_control import suite
from worldmodels.envs.worlds.cart_swing import CartSwing, CartSwingState
from worldmodels.studies import oracles
env = suite.load("cartpole", "swingup")
physics = env.physics
answer = []
for start, actions in json.load(sys.stdin):
    env.reset()
    with physics.reset_context():
        physics.data.qpos[:], physics.data.qvel[:] = start[:2], start[2:]
    rows = []
    for action in actions:
        reward = env.step([action]).reward
        rows.append([*physics.data.qpos, *physics.data.qvel, reward])
    answer.append(rows)
env.reset()
with physics.reset_context():
    physics.data.qpos[:], physics.data.qvel[:] = [0, np.pi - 0.01], 0
total = 0.0
for _ in range(1000):
    state = CartSwingState(*np.array([physics.data.qpos, physics.data.qvel]).reshape(4, 1))
    total += env.step(oracles.cart_swing(CartSwing(), state)[0]).reward
times = {"steps": env._step_limit, "seconds": env.control_timestep()}
print(json.dumps({"total": total, "rows": answer, **times}))
"""


def hanging(angle: float = np.pi - 0.01) -> CartSwingState:
    return CartSwingState(np.zeros(1), np.array([angle]), np.zeros(1), np.zeros(1))


def rollout(start: list[float], actions: list[float]) -> np.ndarray:
    state = CartSwingState(*np.array(start)[:, None])
    rows = []
    for action in actions:
        state, reward, _ = CartSwing().step(state, np.array([[action]]))
        rows.append([*(field[0] for field in state), reward[0]])
    return np.array(rows)


@pytest.fixture(scope="module")
def scripted() -> np.ndarray:
    """Returns of the scripted policy: from hanging almost still, then from 100 drawn starts."""
    world = CartSwing()
    starts = zip(hanging(), world.reset(np.random.default_rng(0), 100), strict=True)
    state = CartSwingState(*(np.concatenate(fields) for fields in starts))
    total = np.zeros(101)
    for _ in range(1000):
        state, reward, _ = world.step(state, oracles.cart_swing(world, state))
        total += reward
    return total


@pytest.fixture(scope="module")
def cases() -> dict[str, tuple[list[float], list[float]]]:
    rng = np.random.default_rng(0)
    return {
        "random": ([0.01, 3.13, 0.005, -0.01], rng.uniform(-1, 1, 150).tolist()),
        "spinning": ([-0.3, 1.0, 0.2, 7.0], np.repeat([0.4, -0.4, -0.3], 40).tolist()),
        "right end": ([0.0, 3.0, 0.0, 0.0], [1.0] * 120 + [0.2] * 150),
        "left end": ([0.0, 1.0, 0.0, 3.0], [-1.0] * 150 + [0.5] * 200),
    }


@pytest.fixture(scope="module")
def dm_control(cases) -> dict:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DM_CONTROL],
        input=json.dumps(list(cases.values())),
        env=os.environ | {"MUJOCO_GL": "disable"},
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(run.stdout)
    answer["rows"] = dict(zip(cases, map(np.array, answer["rows"]), strict=True))
    return answer


@pytest.mark.parametrize("name", ["random", "spinning"])
def test_states_and_rewards_equal_dm_control_away_from_the_rails_ends(name, cases, dm_control):
    ours, theirs = rollout(*cases[name]), dm_control["rows"][name]
    assert np.abs(theirs[:, 0]).max() < CartSwing.rail
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["right end", "left end"])
def test_states_and_rewards_equal_dm_control_at_the_rails_ends(name, cases, dm_control):
    # MuJoCo's solver stops at a relative 1e-8; ours is the closed form.
    ours, theirs = rollout(*cases[name]), dm_control["rows"][name]
    assert np.abs(theirs[:, 0]).max() > CartSwing.rail + 0.02
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_the_scripted_policy_returns_853_here_and_in_dm_control(scripted, dm_control):
    assert scripted[0] == pytest.approx(dm_control["total"], abs=1e-6)
    assert scripted[0] == pytest.approx(853.22, abs=0.01)


def test_the_scripted_policy_returns_between_830_and_870_from_every_start(scripted):
    assert 830 < scripted.min() < scripted.max() < 870


def test_an_episode_is_as_long_as_dm_controls(dm_control):
    assert dm_control["steps"] == CartSwing.time_limit
    assert dm_control["seconds"] == CartSwing.time_step == 1 / CartSwing.frame_rate


def test_rewards_are_the_hand_computed_products():
    world = CartSwing()
    zero = np.zeros(1)
    upright = CartSwingState(zero, zero, zero, zero)
    assert world.reward(upright, zero).tolist() == [1.0]
    assert world.reward(upright, np.ones(1)) == pytest.approx([0.8])
    level = CartSwingState(np.full(1, 2.0), np.full(1, np.pi / 2), zero, np.full(1, 5.0))
    # upright 1/2, centred and slow (1 + 0.1) / 2 at their margins, control (4 + 0.75) / 5.
    assert world.reward(level, np.full(1, 0.5)) == pytest.approx([0.5 * 0.55 * 0.55 * 0.95])


def test_starts_hang_with_a_hundredth_of_noise_in_every_field():
    fields = np.stack(CartSwing().reset(np.random.default_rng(0), 20_000))
    np.testing.assert_allclose(fields.mean(axis=1), [0, np.pi, 0, 0], atol=3e-4)
    np.testing.assert_allclose(fields.std(axis=1), 0.01, rtol=0.02)


def test_an_episode_of_repeat_8_is_125_agent_steps():
    env = WorldEnv(CartSwing(), action_repeat=8)
    env.reset(seed=0)
    ends = [env.step(np.zeros(1, dtype=np.float32))[2:4] for _ in range(125)]
    assert ends == [(False, False)] * 124 + [(False, True)]


def test_the_pole_and_the_cart_are_drawn_where_they_are():
    # The pole alone is orange, the cart alone is dark blue: 15 px per metre about (32, 32).
    world = CartSwing()
    angle = np.array([np.pi, 0.0, 1.0, -2.0, np.pi / 2])
    position = np.array([0.0, -1.2, 0.4, 0.61, 1.0])
    zero = np.zeros(5)
    frames = world.render(CartSwingState(position, angle, zero, zero)).astype(int)
    pixels = np.arange(64) + 0.5
    for index, frame in enumerate(frames):
        orange = np.clip(frame[:, :, 0] - frame[:, :, 2], 0, None)
        orange = np.where(orange > 60, orange, 0)
        blue = (frame[:, :, 2] - frame[:, :, 0] > 40).astype(int)
        centre = np.array([orange.sum(0) @ pixels, orange.sum(1) @ pixels]) / orange.sum()
        offset = centre - [32 + 15 * position[index], 32]
        np.testing.assert_allclose(
            np.arctan2(offset[0], -offset[1]) % (2 * np.pi), angle[index] % (2 * np.pi), atol=0.05
        )
        assert np.hypot(*offset) == pytest.approx(8.0, abs=0.8)
        assert blue.sum() > 15
        columns = np.flatnonzero(blue.any(0)) + 0.5
        assert (columns.min() + columns.max()) / 2 == pytest.approx(
            32 + 15 * position[index], abs=0.6
        )


def test_a_hundredth_of_a_radian_changes_the_picture():
    world = CartSwing()
    first, second = world.render(hanging(1.0))[0], world.render(hanging(1.01))[0]
    assert (first != second).any(-1).sum() > 10
