"""Who can act in a run's model: planners by name, class path, file or object, and the policy."""

from functools import partial

import pytest
from small_runs import MODEL, POLICY, STUDENT, save_run, small_agent

from worldmodels.behaviours import ModelFree
from worldmodels.evaluation.agents import (
    PLANNERS,
    acting_agent,
    agents_of,
    find_planner,
    planner_for,
    planning_agent,
)
from worldmodels.evaluation.subject import find_subject
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.planning import CEM, MPC, RandomShooting
from worldmodels.planning.objectives import ActionCost, Minimum
from worldmodels.types import ActionSpace
from worldmodels.world_model import LatentModel


class Mine(RandomShooting):
    """A planner of one's own, outside of the package."""


@pytest.fixture(scope="module")
def subject(guided):
    return find_subject(guided)


def test_planners_have_names_in_any_case():
    assert find_planner("icem").__name__ == "ICEM"
    assert [find_planner(cls.__name__.upper()) for cls in PLANNERS] == list(PLANNERS)
    with pytest.raises(ValueError, match=r"unknown planner 'cme': did you mean CEM\?"):
        find_planner("cme")
    with pytest.raises(ValueError, match="'foo': choose one of RandomShooting, CEM, ICEM, MPPI"):
        find_planner("foo")


def test_another_planner_looks_as_far_ahead_and_the_own_one_keeps_its_options(subject):
    assert planner_for(subject.agent, "mppi").horizon == 2
    own = planner_for(subject.agent, "cem")
    assert own is subject.agent.actor.planner
    assert own.candidates == 4


def test_a_planner_comes_by_class_path(subject):
    planner = planner_for(subject.agent, f"{__name__}.Mine")
    assert (type(planner).__name__, planner.horizon) == ("Mine", 2)
    with pytest.raises(ValueError, match=r"planner no\.Way: No module named 'no'"):
        planner_for(subject.agent, "no.Way")


def test_a_planner_comes_from_yaml_too(subject, tmp_path):
    file = tmp_path / "planner.yaml"
    file.write_text(
        "class_path: ICEM\ninit_args: {horizon: 3, candidates: 7, elites: 2, kept_elites: 1}"
    )
    planner = planner_for(subject.agent, str(file))
    assert (type(planner).__name__, planner.horizon, planner.candidates) == ("ICEM", 3, 7)
    file.write_text("horizon: 3")
    with pytest.raises(ValueError, match=r"planner\.yaml: give class_path and init_args"):
        planner_for(subject.agent, file)
    file.write_text("class_path: [")
    with pytest.raises(ValueError, match=r"planner\.yaml is no YAML: .*line 1"):
        planner_for(subject.agent, file)
    file.write_text("class_path: CEM\ninit_args: {candidatse: 3}")
    with pytest.raises(ValueError, match="candidatse: did you mean"):
        planner_for(subject.agent, file)


def test_a_planner_object_must_search_the_same_actions(subject):
    planner = CEM(subject.agent.world_model.action_space, horizon=5)
    assert planner_for(subject.agent, planner) is planner
    with pytest.raises(ValueError, match=r"CEM searches .* this agent acts by"):
        planner_for(subject.agent, CEM(ActionSpace(7, True)))


def test_planners_the_policy_and_the_guided_planner_are_listed(subject):
    names = [agent.name for agent in agents_of(subject)]
    assert names == [*(planner.__name__ for planner in PLANNERS), "policy", "guided planner"]
    assert [agent.name for agent in agents_of(subject, ["Policy"])] == ["policy", "guided planner"]
    listed = agents_of(subject, ["mppi", "policy"])
    assert [agent.name for agent in listed] == ["CEM", "MPPI", "policy", "guided planner"]
    assert [agent.horizon for agent in listed] == [2, 2, 2, 2]
    # Plain planners are not guided.
    assert [agent.agent.actor.guide for agent in listed[:2]] == [None, None]
    assert listed[-1].agent.actor.guide is subject.agent.behaviour


def test_all_agents_share_one_world_model(subject):
    assert all(agent.agent.world_model is subject.agent.world_model for agent in agents_of(subject))


def test_a_policy_alone_is_listed_with_planners_of_the_usual_horizon():
    agent = small_agent(behaviour=POLICY, planner=None)
    subject = find_subject(agent)
    listed = agents_of(subject, ["RandomShooting"])
    assert [one.name for one in listed] == ["RandomShooting", "policy", "guided planner"]
    usual = CEM(agent.world_model.action_space).horizon
    assert [one.horizon for one in listed] == [usual] * 3


def test_plans_are_scored_by_the_runs_own_objective(tmp_path):
    scored = partial(MPC, objective=ActionCost(), aggregation=Minimum(), proposals=2)
    run = save_run(tmp_path / "run", behaviour=STUDENT, mpc=scored)
    agent = find_subject(run).agent
    for guide in (None, agent.behaviour):
        actor = planning_agent(agent, planner_for(agent, "mppi"), guide).actor
        assert isinstance(actor.objective, ActionCost)
        assert isinstance(actor.aggregation, Minimum)
        assert (actor.proposals, actor.guide) == (2, guide)
    plain = acting_agent(find_subject(run), "cem").actor
    assert plain.guide is None
    assert isinstance(plain.objective, ActionCost)


def test_only_one_can_act(subject, counting):
    assert acting_agent(subject) is subject.agent
    policy = acting_agent(subject, policy=True)
    assert policy.actor is subject.agent.behaviour
    assert policy.actor.name == "policy"
    with pytest.raises(ValueError, match="policy and planner=CEM: only one can act, leave out the"):
        acting_agent(subject, "CEM", policy=True)
    planner_alone = find_subject(counting)
    with pytest.raises(ValueError, match=r"policy: .* learned no policy: leave it out"):
        acting_agent(planner_alone, policy=True)
    with pytest.raises(ValueError, match="learned no policy: choose planners"):
        agents_of(planner_alone, ["policy"])


def test_a_model_free_run_is_refused_in_one_line():
    agent = small_agent(
        model=partial(LatentModel, encoder=MODEL.keywords["encoder"]),
        behaviour=ModelFree,
        planner=None,
    )
    assert isinstance(agent.world_model.encoder, ConvEncoder)
    for planners in ([], ["cem"], ["policy"]):
        with pytest.raises(ValueError, match="this agent is model-free: its LatentModel predicts"):
            agents_of(find_subject(agent), planners)
