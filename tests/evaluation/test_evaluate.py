"""`evaluate`: one call that plays, predicts and reports."""

import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from small_runs import COUNTING, MODEL, POLICY, small_agent

from worldmodels.agent import Agent
from worldmodels.behaviours import ModelFree
from worldmodels.envs.make import make_env
from worldmodels.evaluation import evaluate, record
from worldmodels.planning import CEM, RandomShooting
from worldmodels.world_model import LatentModel

SHORT = {"context": 3, "horizon": 5, "sequences": 3}


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """A data set of three counting episodes."""
    folder = tmp_path_factory.mktemp("counted") / "set"
    record("worldmodels/Counting-v0", folder, episodes=3, options={"size": (16, 16)})
    return folder


def returned(monkeypatch, cls, method):
    """Collects what a method of a class will have returned, each with its object."""
    seen, original = [], getattr(cls, method)

    def spy(self, *given, **options):
        seen.append((self, original(self, *given, **options)))
        return seen[-1][1]

    monkeypatch.setattr(cls, method, spy)
    return seen


def test_a_run_is_played_and_its_predictions_are_measured(counting, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    report = evaluate(counting, episodes=2, **SHORT)
    # Whatever is chosen, counting to 10 earns 1 + 2 + ... + 10.
    assert report.returns.mean == 55.0
    assert isinstance(report.returns.mean, float)
    assert report.returns.values.tolist() == [55, 55]
    assert report.returns.decision_ms > 0
    assert (report.actor, report.run, len(report.episodes)) == ("planner", str(counting), 2)
    assert report.open_loop.sequences == 3
    lines = str(report).splitlines()
    assert lines[:2] == [
        f"{counting}: the planner acts",
        "return 55 [55, 55] (mean and 95 % interval of 2 episodes)",
    ]
    assert "Open-loop error after 3 frames, 3 sequences" in lines[3]
    assert repr(report) == str(report)
    files = report.save(tmp_path)
    assert [file.name for file in files] == ["evaluation.json", "evaluation.png"]
    found = json.loads(files[0].read_text())
    assert found == json.loads(json.dumps(report.as_dict()))
    assert list(found) == [
        "run",
        "actor",
        "return",
        "returns",
        "lengths",
        "decision_ms",
        "open_loop",
    ]
    assert (found["actor"], found["returns"], found["lengths"]) == ("planner", [55, 55], [10, 10])
    assert imread(files[1])[0, 0, :3].tolist() == [1, 1, 1]


def test_what_train_returned_is_evaluated_like_its_folder(counting):
    run = SimpleNamespace(path=counting)
    assert evaluate(run, episodes=1, **SHORT).returns.mean == 55
    assert evaluate(str(counting), episodes=1, **SHORT).run == str(counting)


def test_the_same_seed_plays_the_same_episodes(guided):
    sizes = {"context": 1, "horizon": 2, "sequences": 2, "episodes": 2}
    first, second, other = (evaluate(guided, seed=seed, **sizes) for seed in (3, 3, 4))
    assert first.returns.values.tolist() == second.returns.values.tolist()
    assert np.array_equal(first.episodes[0].obs, second.episodes[0].obs)
    assert not np.array_equal(first.episodes[0].obs[0], other.episodes[0].obs[0])


def test_recorded_episodes_are_predicted_without_playing(counting, counted):
    report = evaluate(counting, data=counted, **SHORT)
    assert (report.actor, report.returns, len(report.episodes)) == (None, None, 3)
    assert set(report.as_dict()) == {"run", "open_loop"}
    assert str(report).startswith(f"{counting}: 3 recorded episodes\n")
    # An agent needs no environment then.
    model = small_agent(COUNTING)
    again = evaluate(model, data=str(counted), **SHORT)
    assert again.open_loop.sequences == 3


def test_the_policy_acts_alone(guided, monkeypatch):
    decisions = returned(monkeypatch, Agent, "act")
    report = evaluate(guided, episodes=1, context=1, horizon=2, policy=True)
    assert report.actor == "policy"
    assert len(decisions) == 4
    for agent, (action, after) in decisions:
        policy = agent.behaviour.policy(agent.world_model.feature(after.latent))
        assert torch.equal(action, policy.mode())
        assert after.actor == ()


@pytest.mark.parametrize("planner", ["mppi", "RandomShooting", "object"])
def test_another_planner_acts(guided, monkeypatch, planner):
    plans = returned(monkeypatch, RandomShooting, "plan")
    chosen = planner
    if planner == "object":
        space = small_agent().world_model.action_space
        chosen = RandomShooting(space, horizon=2, candidates=3)
    report = evaluate(guided, episodes=1, context=1, horizon=2, planner=chosen)
    assert report.actor == "planner"
    assert bool(plans) == (planner != "mppi")
    if planner == "object":
        # Three candidates, the warm start.
        assert {plan.evaluations for _, plan in plans} == {4}
    assert not any(isinstance(own, CEM) for own, _ in plans)


def test_an_agent_is_evaluated_in_an_environment_that_is_given():
    agent = small_agent(COUNTING, behaviour=POLICY, planner=None)
    env = make_env(**COUNTING, time_limit=6)
    report = evaluate(agent, env=env, episodes=2, context=2, horizon=3, sequences=2)
    assert (report.run, report.actor, report.returns.mean) == ("this agent", "policy", 21)
    env.reset(0)  # still open
    with pytest.raises(ValueError, match="this agent knows no environment: give env=make_env"):
        evaluate(agent)


def test_a_model_free_agent_has_returns_alone(tmp_path):
    model = partial(LatentModel, encoder=MODEL.keywords["encoder"])
    agent = small_agent(COUNTING, model=model, behaviour=ModelFree, planner=None)
    report = evaluate(agent, env=make_env(**COUNTING), episodes=1)
    assert (report.open_loop, report.returns.mean) == (None, 55)
    assert [file.name for file in report.save(tmp_path)] == ["evaluation.json"]


def test_a_model_without_a_decoder_is_measured_by_rewards():
    agent = small_agent(COUNTING, model=partial(MODEL.func, **MODEL.keywords | {"decoder": None}))
    report = evaluate(agent, env=make_env(**COUNTING), episodes=1, **SHORT)
    assert report.open_loop.psnr == {}
    assert len(report.open_loop.reward["model"].mean) == 5


@pytest.mark.parametrize("name", ["episodes", "context", "horizon", "sequences"])
def test_counts_are_checked_before_anything_is_loaded(name):
    with pytest.raises(ValueError, match=f"evaluate: {name}=0: choose 1 or more"):
        evaluate("nowhere", **{name: 0})


def test_arguments_that_exclude_each_other_are_named(counting, counted):
    for extra in ({"planner": "CEM"}, {"policy": True}):
        with pytest.raises(ValueError, match="with data nothing is played: leave out planner and"):
            evaluate(counting, data=counted, **extra)
    with pytest.raises(ValueError, match="policy and planner=CEM: only one can act"):
        evaluate(counting, planner="CEM", policy=True)
    with pytest.raises(ValueError, match="learned no policy: leave it out"):
        evaluate(counting, policy=True)
    with pytest.raises(ValueError, match="unknown planner 'foo'"):
        evaluate(counting, planner="foo")


def test_a_data_set_of_another_kind_is_refused(guided, counted):
    told = r"set has frames \(3, 16, 16\) and .* was trained on \(3, 16, 16\)"
    with pytest.raises(ValueError, match=told):
        evaluate(guided, data=counted, **SHORT)
