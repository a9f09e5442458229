import json
from functools import partial

import numpy as np
import pytest
import torch
from small_runs import MODEL, PLANNER, POLICY, small_agent

from worldmodels.agent import Agent
from worldmodels.behaviours import ActorCritic
from worldmodels.envs.make import make_env
from worldmodels.evaluation import compare, compare_agents
from worldmodels.evaluation.agents import (
    NamedAgent,
    guided_return,
    plan_value,
    policy_return,
)
from worldmodels.evaluation.compare import window_returns
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.planning import CEM, MPC, RandomShooting
from worldmodels.types import ActionSpace
from worldmodels.viz.bands import Interval
from worldmodels.viz.comparison import Measure, comparison_chart
from worldmodels.world_model import WorldModel

SPACE = ActionSpace(3, True)


class Optimist(WorldModel):
    """Predicts 100 for every plan."""

    def score(self, state, actions, **options):
        return torch.full(actions.shape[:2], 100.0)


def optimist(horizon=2, replan_every=1, discount=0.5):
    torch.manual_seed(0)
    model = Optimist(
        (3, 64, 64),
        SPACE,
        encoder=lambda shape: ConvEncoder(shape, depth=1),
        decoder=lambda feature, shape: ConvDecoder(feature, shape, depth=1),
        discount=discount,
    )
    planner = RandomShooting(SPACE, horizon=horizon, candidates=4)
    return Agent(model, MPC(planner, replan_every=replan_every))


def named(agent, predicted_return=plan_value):
    return NamedAgent("x", agent, agent.actor.planner.horizon, predicted_return)


def counting_env(**options):
    return make_env("worldmodels/Counting-v0", **options)


def test_windows_are_discounted_from_the_frame_on():
    # From frame 0: 1 + 0.5 * 2; from frame 2, where the episode ended one row later: 3.
    reward = np.array([0.0, 1.0, 2.0, 3.0])
    assert window_returns(reward, 2, 0.5, ended=True).tolist() == [2.0, 3.5, 3.0, 0.0]


def test_windows_beyond_a_time_limit_are_unknown():
    window = window_returns(np.array([0.0, 1.0, 2.0, 3.0]), 2, 0.5, ended=False)
    assert window[:2].tolist() == [2.0, 3.5]
    assert np.isnan(window[2:]).all()


def test_predicted_and_actual_return_by_hand():
    # Counting pays 1 ... 4: windows of two steps are worth 2, 3.5, 5 and, cut off, unknown.
    (row,) = compare_agents([named(optimist())], counting_env(time_limit=4), 2, seed=0)
    assert row.episode_returns.tolist() == [10, 10]
    assert row.episode_predicted.tolist() == [100, 100]
    assert row.episode_actual.tolist() == [3.5, 3.5]
    assert (row.returns.mean, row.predicted.mean, row.actual.mean) == (10, 100, 3.5)
    assert row.exploitation_gap == Interval(96.5, 96.5, 96.5)
    # Four candidates and the warm start.
    assert row.evaluations == 5
    report = json.loads(json.dumps(row.as_dict()))
    assert report["predicted"]["mean"] == 100
    assert report["actual"] == {"mean": 3.5, "low": 3.5, "high": 3.5}
    assert report["exploitation_gap"]["low"] == 96.5
    assert (report["return"]["mean"], report["returns"]) == (10, [10, 10])


def test_steps_that_follow_a_plan_are_no_decisions():
    # Replanning every second step decides at frames 0 and 2.
    agent = optimist(replan_every=2)
    (row,) = compare_agents([named(agent)], counting_env(time_limit=4), 1, seed=0)
    assert row.episode_actual.tolist() == [(2 + 5) / 2]
    assert row.evaluations == 5


def test_an_episode_without_a_whole_window_has_no_gap():
    (row,) = compare_agents([named(optimist(horizon=9))], counting_env(time_limit=4), 1, seed=0)
    report = json.loads(json.dumps(row.as_dict()))
    assert report["exploitation_gap"] == {"mean": None, "low": None, "high": None}
    assert report["returns"] == [10]


class ThreeSteps(WorldModel):
    """What is imagined pays 1, 2, 4 with a discount of 0.5."""

    def imagine(self, start, policy, horizon, objective=None):
        assert horizon == 3
        reward, discount = torch.tensor([[1.0, 2.0, 4.0]]), torch.full((1, 3), 0.5)
        return type("Imagined", (), {"reward": reward, "discount": discount})


def test_a_policy_predicts_the_return_of_its_imagined_sequences():
    model = ThreeSteps((3, 64, 64), SPACE, encoder=lambda shape: ConvEncoder(shape, depth=1))
    agent = Agent(model, ActorCritic(model.feature_dim, SPACE, hidden=4))
    state = agent.initial(1, 0)
    assert policy_return(agent, state, horizon=3) == 1 + 0.5 * 2 + 0.25 * 4


class Reads(WorldModel):
    """A plan is worth the number that its choices spell; with a value, its nearness to 21."""

    def score(self, state, actions, value=None, **options):
        torch.rand(1)
        choice = actions.argmax(-1).float()
        number = 10 * choice[..., 0] + choice[..., 1]
        return number if value is None else 1000 - (number - 21).abs()


def test_a_guided_planner_predicts_its_plans_return_without_the_value():
    model = Reads((3, 64, 64), SPACE, encoder=lambda shape: ConvEncoder(shape, depth=1))
    behaviour = ActorCritic(model.feature_dim, SPACE, hidden=4)
    planner = RandomShooting(SPACE, horizon=2, candidates=64)
    agent = Agent(model, MPC(planner, behaviour, proposals=0))
    frame = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    _, after = agent.act(frame, torch.tensor([True]), agent.initial(1, 0))
    assert plan_value(agent, after) == 1000
    before = torch.get_rng_state()
    assert guided_return(agent, after) == 21
    assert torch.equal(torch.get_rng_state(), before)


class FirstFrames(Agent):
    """Remembers what every episode started with."""

    seen = None

    def act(self, obs, is_first, state, explore=False):
        if is_first.all():
            self.seen = [*(self.seen or []), obs.clone()]
        return super().act(obs, is_first, state, explore)


def test_all_agents_start_from_the_same_states():
    torch.manual_seed(0)
    space = ActionSpace(1, False)
    model = Optimist((3, 64, 64), space, encoder=lambda shape: ConvEncoder(shape, depth=1))
    agents = []
    for horizon in (1, 2):
        planner = RandomShooting(space, horizon=horizon, candidates=2)
        agents.append(FirstFrames(model, MPC(planner)))
        env = make_env("worldmodels/CliffHill-v0", time_limit=horizon + 2)
        compare_agents([named(agents[-1])], env, 3, seed=5)
    first, second = (agent.seen for agent in agents)
    assert len(first) == 3
    assert not torch.equal(first[0], first[1])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_more_than_one_environment_is_refused():
    with pytest.raises(ValueError, match="num_envs=2: compare plays one"):
        compare_agents([], counting_env(num_envs=2), 1, 0)


def test_the_chart_has_a_row_per_name_and_a_plot_per_measure():
    rows = {"a": Interval(1.0, 0.5, 1.5), "b": Interval(0.0, 0.0, 0.0)}
    figure = comparison_chart([Measure("x", rows), Measure("y", rows, True)])
    assert [axes.get_xscale() for axes in figure.axes] == ["linear", "symlog"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]


def test_a_run_is_compared_in_one_call(guided, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    done = []
    comparison = compare(
        guided, ("cem", "MPPI"), episodes=2, on_row=lambda row: done.append(row.name)
    )
    # The student and its teacher come after the planners.
    assert list(comparison.rows) == done == ["CEM", "MPPI", "policy", "guided planner"]
    rows = comparison.rows
    # Four drawn, the warm start, the kept plan of the last decision; then two finalists.
    assert rows["CEM"].evaluations == 4 + 1 + 1 + 2
    assert rows["policy"].evaluations == 0
    # The teacher also looks at two proposals of the student.
    assert rows["guided planner"].evaluations == rows["CEM"].evaluations + 2
    assert all(row.decision_ms > 0 for row in rows.values())
    assert all(len(row.episode_returns) == 2 for row in rows.values())
    lines = str(comparison).splitlines()
    for word in ("agent", "predicted return", "actual return", "exploitation gap", "evaluations"):
        assert word in lines[2]
    assert [line.split()[1] for line in lines[4:-1]] == ["CEM", "MPPI", "policy", "guided"]
    assert not any("\x1b" in line for line in lines)
    files = comparison.save(tmp_path / "new")
    assert [file.name for file in files] == ["compare.json", "compare.png"]
    report = json.loads(files[0].read_text())
    assert report == json.loads(json.dumps(comparison.as_dict()))
    assert (report["run"], report["episodes"], report["seed"]) == (str(guided), 2, 1000)
    assert set(report["agents"]["MPPI"]) == {
        "return", "predicted", "actual", "exploitation_gap", "returns", "decision_ms",
        "evaluations",
    }  # fmt: skip
    assert files[1].stat().st_size > 5000


def test_the_runs_own_planner_is_listed_with_its_own_options(counting):
    comparison = compare(counting, ("RandomShooting",), episodes=1)
    assert list(comparison.rows) == ["CEM", "RandomShooting"]
    # The run's four candidates and not CEM's thousand.
    assert comparison.rows["CEM"].evaluations < 10
    assert comparison.rows["RandomShooting"].evaluations > 100


def test_an_agent_is_compared_in_an_environment_that_is_given():
    agent = small_agent(
        {"id": "worldmodels/Counting-v0", "size": (16, 16)}, behaviour=POLICY, planner=None
    )
    agent.train()
    env = counting_env(size=(16, 16), time_limit=3)
    comparison = compare(agent, ("policy",), episodes=2, env=env)
    assert comparison.rows["policy"].episode_returns.tolist() == [6, 6]
    assert agent.training
    assert agent.world_model.encoder.training
    env.reset(0)  # still open
    with pytest.raises(ValueError, match=r"this agent knows no environment: give env=make_env"):
        compare(agent, ("policy",))


def test_agents_of_another_world_are_refused(guided):
    with pytest.raises(ValueError, match=r"Counting-v0 has frames \(3, 16, 16\) and .* trained on"):
        compare(guided, ("CEM",), env=counting_env(size=(16, 16)))


def test_numbers_are_checked_before_anything_is_loaded():
    with pytest.raises(ValueError, match="compare: episodes=0: choose 1 or more"):
        compare("nowhere", episodes=0)
    with pytest.raises(FileNotFoundError, match="no trained model in nowhere"):
        compare("nowhere")


def test_a_model_without_a_decoder_is_compared(tmp_path):
    agent = small_agent(model=partial(MODEL.func, **MODEL.keywords | {"decoder": None}))
    assert isinstance(agent.actor.planner, CEM)
    env = make_env("worldmodels/CliffHill-v0", size=(16, 16), time_limit=4)
    comparison = compare(agent, (PLANNER(agent.world_model.action_space),), episodes=1, env=env)
    assert list(comparison.rows) == ["CEM", "CEM 2"]
