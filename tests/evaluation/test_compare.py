import json

import numpy as np
import pytest
import torch

from worldmodels.agent import Agent
from worldmodels.cli import main
from worldmodels.envs.make import make_env
from worldmodels.evaluation.compare import (
    Contender,
    compare,
    plan_promise,
    policy_promise,
    window_returns,
)
from worldmodels.evaluation.contenders import PLANNERS, find_planner, load_planning
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.planning import CEM, MPC, RandomShooting
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
    contender = Contender("optimist", optimist(), plan_promise)
    (row,) = compare([contender], counting(time_limit=4), 2, seed=0)
    assert row.returns.tolist() == [10, 10]
    assert row.promised.tolist() == [100, 100]
    assert row.realised.tolist() == [3.5, 3.5]
    assert row.gap() == Interval(96.5, 96.5, 96.5)
    # Four candidates and the warm start.
    assert row.evaluations == 5


def test_steps_that_follow_a_plan_are_no_decisions():
    # Replanning every second step decides at frames 0 and 2.
    contender = Contender("open", optimist(replan_every=2), plan_promise)
    (row,) = compare([contender], counting(time_limit=4), 1, seed=0)
    assert row.realised.tolist() == [(2 + 5) / 2]
    assert row.evaluations == 5


def test_an_episode_without_a_whole_window_has_no_gap():
    contender = Contender("far", optimist(horizon=9), plan_promise)
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
        compare([Contender("x", agents[-1], plan_promise)], env, 3, seed=5)
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


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run trained for one update."""
    folder = tmp_path_factory.mktemp("compared")
    command = [
        "fit", "--env.id=worldmodels/CliffHill-v0", "--env.size=[16,16]", "--env.time_limit=4",
        "--env.num_envs=2",
        "--model.encoder.depth=2", "--model.decoder.depth=2", "--model.dynamics.stoch=4",
        "--model.dynamics.deter=8", "--model.dynamics.hidden=8", "--planner.horizon=2",
        "--planner.candidates=4", "--planner.iterations=1", "--planner.elites=2",
        "--batches.batch_size=2", "--batches.batch_length=4", "--updates=1", "--round_updates=1",
        "--collect.prefill=20", f"--out={folder}",
    ]  # fmt: skip
    assert main(command) == 0
    return folder / "run"


def test_another_planner_looks_as_far_ahead(run):
    assert load_planning(run, "mppi").controller.planner.horizon == 2
    own = load_planning(run, "cem").controller.planner
    assert isinstance(own, CEM)
    assert own.candidates == 4


def test_a_planner_comes_from_yaml_too(run, tmp_path):
    file = tmp_path / "planner.yaml"
    file.write_text(
        "class_path: ICEM\ninit_args: {horizon: 3, candidates: 7, elites: 2, carried: 1}"
    )
    planner = load_planning(run, str(file)).controller.planner
    assert (type(planner).__name__, planner.horizon) == ("ICEM", 3)


def test_the_verb_writes_a_table_a_figure_and_json(run, capsys):
    assert main(["compare", str(run), "--planners=cem,MPPI", "--episodes=2"]) == 0
    report = json.loads((run / "compare" / "compare.json").read_text())
    assert list(report["compared"]) == ["CEM", "MPPI"]
    # Four drawn, the warm start, the kept plan of the last decision; then two finalists.
    assert report["compared"]["CEM"]["evaluations"] == 4 + 1 + 1 + 2
    assert len(report["compared"]["MPPI"]["returns"]) == 2
    assert (run / "compare" / "compare.png").stat().st_size > 5000
    assert "promised" in capsys.readouterr().out


def test_an_unknown_planner_is_one_line(run, capsys):
    assert main(["compare", str(run), "--planners=cem,foo"]) == 2
    assert capsys.readouterr().err == (
        "worldmodels compare: unknown planner 'foo': choose of "
        "RandomShooting, CEM, ICEM, MPPI, PDDM, Gradient, Hybrid\n"
    )
    assert main(["evaluate", str(run), "--planner=foo"]) == 2
