import json
import shutil

import numpy as np
import pytest
import torch

from worldmodels.agent import Agent, ByGuidedPlanner, ByPlanner
from worldmodels.behaviours import ActorCritic
from worldmodels.checkpoint import agent_parser, build_agent, save_agent
from worldmodels.cli import main
from worldmodels.envs.make import make_env
from worldmodels.evaluation.agents import PLANNERS, agents, find_planner, load_planning
from worldmodels.evaluation.compare import (
    Entrant,
    compare,
    guided_promise,
    plan_promise,
    policy_promise,
    window_returns,
)
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.planning import CEM, MPC, RandomShooting
from worldmodels.planning.objectives import ActionCost, Minimum
from worldmodels.types import ActionSpace
from worldmodels.viz.bands import Interval
from worldmodels.viz.comparison import Measure, comparison_chart
from worldmodels.world_model import WorldModel

SPACE = ActionSpace(3, True)


class Optimist(WorldModel):
    """Promises 100 for every plan."""

    def score(self, state, actions, value=None, objective=None, aggregation=None):
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
    return Agent(model, MPC(planner, replan_every))


def counting(**options):
    return make_env("worldmodels/Counting-v0", **options)


def test_windows_are_discounted_from_the_frame_on():
    # From frame 0: 1 + 0.5 * 2; from frame 2, where the episode ended one row later: 3.
    reward = np.array([0.0, 1.0, 2.0, 3.0])
    assert window_returns(reward, 2, 0.5, ended=True).tolist() == [2.0, 3.5, 3.0, 0.0]


def test_windows_beyond_a_time_limit_are_unknown():
    window = window_returns(np.array([0.0, 1.0, 2.0, 3.0]), 2, 0.5, ended=False)
    assert window[:2].tolist() == [2.0, 3.5]
    assert np.isnan(window[2:]).all()


def test_promised_and_realised_by_hand():
    # Counting pays 1 ... 4: windows of two steps are worth 2, 3.5, 5 and, cut off, unknown.
    contender = Entrant("optimist", optimist(), plan_promise)
    (row,) = compare([contender], counting(time_limit=4), 2, seed=0)
    assert row.returns.tolist() == [10, 10]
    assert row.promised.tolist() == [100, 100]
    assert row.realised.tolist() == [3.5, 3.5]
    assert row.gap() == Interval(96.5, 96.5, 96.5)
    # Four candidates and the warm start.
    assert row.evaluations == 5


def test_steps_that_follow_a_plan_are_no_decisions():
    # Replanning every second step decides at frames 0 and 2.
    contender = Entrant("open", optimist(replan_every=2), plan_promise)
    (row,) = compare([contender], counting(time_limit=4), 1, seed=0)
    assert row.realised.tolist() == [(2 + 5) / 2]
    assert row.evaluations == 5


def test_an_episode_without_a_whole_window_has_no_gap():
    contender = Entrant("far", optimist(horizon=9), plan_promise)
    (row,) = compare([contender], counting(time_limit=4), 1, seed=0)
    report = json.loads(json.dumps(row.as_dict()))
    assert report["gap"] == {"mean": None, "low": None, "high": None}
    assert report["returns"] == [10]


class ThreeDreams(torch.nn.Module):
    """A model whose dreams pay 1, 2, 4 with a discount of 0.5."""

    def imagine(self, start, policy, horizon):
        reward, discount = torch.tensor([[1.0, 2.0, 4.0]]), torch.full((1, 3), 0.5)
        return type("Dream", (), {"reward": reward, "discount": discount})


def test_a_policy_promises_the_return_of_its_dreams():
    agent = optimist(horizon=3)
    state = agent.initial(1, 0)
    agent.world_model, agent.behaviour = ThreeDreams(), torch.nn.Identity()
    assert policy_promise(agent, state) == 1 + 0.5 * 2 + 0.25 * 4


class Reads(WorldModel):
    """A plan is worth the number that its choices spell; with a value, its nearness to 21."""

    def score(self, state, actions, value=None, objective=None, aggregation=None):
        torch.rand(1)
        choice = actions.argmax(-1).float()
        number = 10 * choice[..., 0] + choice[..., 1]
        return number if value is None else 1000 - (number - 21).abs()


def test_a_guided_planner_promises_its_plans_return_without_the_value():
    model = Reads((3, 64, 64), SPACE, encoder=lambda shape: ConvEncoder(shape, depth=1))
    behaviour = ActorCritic(model.dynamics.feature_dim, SPACE, hidden=4)
    controller = MPC(RandomShooting(SPACE, horizon=2, candidates=64))
    agent = Agent(model, controller, behaviour=behaviour, acting=ByGuidedPlanner(proposals=0))
    frame = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    _, after = agent.act(frame, torch.tensor([True]), agent.initial(1, 0))
    assert plan_promise(agent, after) == 1000
    before = torch.get_rng_state()
    assert guided_promise(agent, after) == 21
    assert torch.equal(torch.get_rng_state(), before)


class FirstFrames(Agent):
    """Remembers what every episode started with."""

    seen = None

    def act(self, obs, is_first, state, explore=False):
        if is_first.all():
            self.seen = [*(self.seen or []), obs.clone()]
        return super().act(obs, is_first, state, explore)


def test_everybody_starts_from_the_same_states():
    torch.manual_seed(0)
    space = ActionSpace(1, False)
    model = Optimist((3, 64, 64), space, encoder=lambda shape: ConvEncoder(shape, depth=1))
    agents = []
    for horizon in (1, 2):
        planner = RandomShooting(space, horizon=horizon, candidates=2)
        agents.append(FirstFrames(model, MPC(planner)))
        env = make_env("worldmodels/CliffHill-v0", time_limit=horizon + 2)
        compare([Entrant("x", agents[-1], plan_promise)], env, 3, seed=5)
    first, second = (agent.seen for agent in agents)
    assert len(first) == 3
    assert not torch.equal(first[0], first[1])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_more_than_one_environment_is_refused():
    with pytest.raises(ValueError, match="num_envs=2: compare plays one"):
        compare([], counting(num_envs=2), 1, 0)


def test_planners_have_names_in_any_case():
    assert find_planner("icem").__name__ == "ICEM"
    assert [find_planner(cls.__name__.upper()) for cls in PLANNERS] == list(PLANNERS)
    with pytest.raises(ValueError, match="'cme': did you mean CEM\\? choose of RandomShooting, "):
        find_planner("cme")


def test_the_chart_has_a_row_per_name_and_a_plot_per_measure():
    rows = {"a": Interval(1.0, 0.5, 1.5), "b": Interval(0.0, 0.0, 0.0)}
    figure = comparison_chart([Measure("x", rows), Measure("y", rows, True)])
    assert [axes.get_xscale() for axes in figure.axes] == ["linear", "symlog"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]


def test_another_planner_looks_as_far_ahead(distilled):
    assert load_planning(distilled, "mppi").controller.planner.horizon == 2
    own = load_planning(distilled, "cem").controller.planner
    assert isinstance(own, CEM)
    assert own.candidates == 4


def test_a_planner_comes_from_yaml_too(distilled, tmp_path):
    file = tmp_path / "planner.yaml"
    file.write_text(
        "class_path: ICEM\ninit_args: {horizon: 3, candidates: 7, elites: 2, kept_elites: 1}"
    )
    planner = load_planning(distilled, str(file)).controller.planner
    assert (type(planner).__name__, planner.horizon) == ("ICEM", 3)


def test_the_verb_writes_a_table_a_figure_and_json(distilled, tmp_path, capsys):
    command = ["compare", str(distilled), "--planners=cem,MPPI", f"--out={tmp_path}"]
    assert main([*command, "--episodes=2"]) == 0
    rows = json.loads((tmp_path / "compare.json").read_text())["compared"]
    # The student and its teacher come after the planners.
    assert list(rows) == ["CEM", "MPPI", "policy", "guided planner"]
    # Four drawn, the warm start, the kept plan of the last decision; then two finalists.
    assert rows["CEM"]["evaluations"] == 4 + 1 + 1 + 2
    assert rows["policy"]["evaluations"] == 0
    # The teacher also looks at two proposals of the student.
    assert rows["guided planner"]["evaluations"] == rows["CEM"]["evaluations"] + 2
    assert all(row["decision_ms"] > 0 for row in rows.values())
    assert all(len(row["returns"]) == 2 for row in rows.values())
    assert (tmp_path / "compare.png").stat().st_size > 5000
    assert "promised" in capsys.readouterr().out


def test_policy_in_place_of_planners_leaves_student_and_teacher(distilled):
    names = [player.name for player in agents(distilled, ["Policy"])]
    assert names == ["policy", "guided planner"]


def acts_by(run, folder, acting, **options):
    """A copy of a run's model whose own way of acting is another."""
    shutil.copytree(run / "model", folder / "model")
    file = folder / "model" / "model.json"
    about = json.loads(file.read_text())
    given = {
        name: {"class_path": f"worldmodels.planning.objectives.{cls}"}
        for name, cls in options.items()
    }
    about["agent"]["acting"] = {"class_path": f"worldmodels.agent.{acting}", "init_args": given}
    file.write_text(json.dumps(about))
    return folder


def test_guided_plans_are_scored_by_the_runs_own_objective(distilled, tmp_path):
    run = acts_by(distilled, tmp_path, "ByPlanner", objective="ActionCost", aggregation="Minimum")
    guided = agents(run, ["policy"])[1].agent.acting
    assert isinstance(guided.objective, ActionCost)
    assert isinstance(guided.aggregation, Minimum)


def test_plain_plans_are_scored_by_the_guided_planners_objective(distilled, tmp_path):
    run = acts_by(distilled, tmp_path, "ByGuidedPlanner", objective="ActionCost")
    planner = load_planning(run, "cem").acting
    assert type(planner) is ByPlanner
    assert isinstance(planner.objective, ActionCost)
    assert planner.aggregation is None


def test_a_model_free_run_is_refused_in_one_line(tmp_path, capsys):
    parser = agent_parser()
    seeing = ["--model=Perception", "--model.encoder=ConvEncoder", "--model.encoder.depth=2"]
    options = parser.parse_args([*seeing, "--behaviour=ModelFree", "--acting=ByPolicy"])
    agent = build_agent((3, 16, 16), ActionSpace(1, False), **parser.instantiate(options))
    world = {"id": "worldmodels/CliffHill-v0", "size": (16, 16), "time_limit": 4}
    save_agent(tmp_path / "model", agent, json.loads(parser.dump(options, format="json")), world)
    assert main(["compare", str(tmp_path), "--planners=cem"]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("worldmodels compare: a model-free agent predicts nothing and can ")
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert not (tmp_path / "compare").exists()


def test_an_unknown_planner_is_one_line(distilled, capsys):
    assert main(["compare", str(distilled), "--planners=cem,foo"]) == 2
    assert capsys.readouterr().err == (
        "worldmodels compare: unknown planner 'foo': choose of "
        "RandomShooting, CEM, ICEM, MPPI, PDDM, Gradient, Hybrid\n"
    )
    assert main(["evaluate", str(distilled), "--planner=foo"]) == 2
