from functools import partial

import pytest
import torch
from known_worlds import (
    Place,
    aim,
    chain,
    everywhere_on_the_chain,
    optimal_chain_values,
    pixel_model,
    pixels,
    replayed,
    train,
)

from worldmodels.behaviours import Distillation
from worldmodels.behaviours.actors import IMITATION_WEIGHT, ContinuousActor
from worldmodels.behaviours.base import StartStates
from worldmodels.behaviours.labels import LabelMemory, Labels
from worldmodels.planning import CEM, ICEM, MPPI, PDDM, Gradient, RandomShooting
from worldmodels.planning.base import Plan, Planner
from worldmodels.planning.mpc import policy_proposals
from worldmodels.types import ActionSpace

CHOICES = ActionSpace(2, True)
QUICK = {"hidden": 32, "layers": 1, "actor_learning_rate": 1e-2, "critic_learning_rate": 1e-2}


def pixel_student(model, space):
    """A student of a pixel model; every one of its weights passes gradients."""
    torch.manual_seed(1)
    teacher = partial(RandomShooting, horizon=2, candidates=8)
    behaviour = Distillation(
        model.feature_dim, space, teacher, queries=8, horizon=3, hidden=8, layers=1
    )
    for parameter in behaviour.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return behaviour


class Exhaustive(Planner):
    """Tries every plan: with the value at its horizon this is exact H-step lookahead."""

    def __init__(self, action_space, horizon=2):
        super().__init__(action_space, horizon)
        self.calls = 0

    def plan(self, score, state, init, generator=None, proposals=None):
        self.calls += 1
        codes = torch.arange(2**self.horizon)[:, None] >> torch.arange(self.horizon) & 1
        plans = torch.eye(2)[codes].expand(len(init), -1, -1, -1)
        values, index = score(state, plans).max(1)
        actions = plans[torch.arange(len(init)), index]
        return Plan(actions, actions, values, len(codes), plans[:, :0])


def at(places, continues=None):
    """Start states in places of the chain."""
    continues = torch.ones(len(places)) if continues is None else continues
    return StartStates(Place(places), continues)


def student(teacher=Exhaustive, **options):
    return Distillation(6, CHOICES, teacher, horizon=5, **QUICK, **options)


def rightwards(behaviour):
    """The same student, whose policy only ever goes right."""
    behaviour.actor.net.output.bias.data = torch.tensor([-50.0, 50.0])
    behaviour.actor.unimix = 0.0
    return behaviour


@pytest.mark.usefixtures("without_shape_checks")
def test_the_student_gets_the_optimal_policy_and_value_from_a_teacher_that_looks_two_steps_ahead():
    torch.manual_seed(0)
    model, behaviour = chain(discount=0.8), student(query_every=2, tau=0.2)
    train(behaviour, model, *everywhere_on_the_chain(), updates=350)
    places, expected = torch.eye(6)[:5], optimal_chain_values(0.8)[:5]
    value = behaviour.value(places)
    assert ((value - expected).abs() <= 0.05 * expected).all(), value
    chosen = behaviour.policy(places).mode().argmax(-1).tolist()
    assert chosen[0] == 0
    assert chosen[2:] == [1, 1, 1]


class Witness(Planner):
    """Keeps what it is asked with."""

    def plan(self, score, state, init, generator=None, proposals=None):
        self.score, self.state, self.proposals = score, state, proposals
        return Plan(init, init, torch.zeros(len(init)), 1, init[:, None][:, :0])


def test_the_teacher_plans_with_the_value_at_its_horizon():
    teacher = partial(Witness, horizon=1)
    behaviour = student(teacher, queries=2, student_fraction=0.0)
    behaviour.value = lambda feature: 10 * feature[..., 3]
    behaviour.query_teacher(chain(discount=0.8), at(torch.eye(6)[[2, 2]]))
    plans = torch.eye(2)[torch.tensor([[[1], [0]]] * 2)]
    # To the right lies place 3, which has the value 10.
    scores = behaviour.teacher.score(behaviour.teacher.state, plans)
    torch.testing.assert_close(scores, torch.tensor([[8.0, 0.0]] * 2))


def test_rollouts_of_the_students_policy_are_among_the_teachers_candidates():
    teacher = partial(Witness, horizon=3)
    behaviour = rightwards(student(teacher, queries=2, student_fraction=0.0, proposals=4))
    behaviour.query_teacher(chain(), at(torch.eye(6)[[0, 3]]))
    assert torch.equal(behaviour.teacher.proposals, torch.eye(2)[1].expand(2, 4, 3, 2))


def test_policy_proposals_are_the_policys_own_rollouts():
    model, behaviour = chain(), rightwards(student())
    plans = policy_proposals(model, behaviour, Place(torch.eye(6)[[0, 3]]), horizon=3, count=4)
    assert torch.equal(plans, torch.eye(2)[1].expand(2, 4, 3, 2))


class Torn(Planner):
    """Its search distribution prefers the right, its best candidate went left."""

    def plan(self, score, state, init, generator=None, proposals=None):
        search, lucky = torch.tensor([0.4, 0.6]), torch.tensor([1.0, 0.0])
        plans = (lucky.expand_as(init), search.expand_as(init))
        return Plan(*plans, torch.zeros(len(init)), 1, init[:, None][:, :0])


def test_labels_are_the_search_distributions_mode_and_not_the_best_candidate():
    behaviour = student(partial(Torn, horizon=2), queries=4)
    assert (
        behaviour.query_teacher(chain(), at(torch.eye(6)[:4])).action.tolist() == [[0.0, 1.0]] * 4
    )


TEACHERS = {
    "RandomShooting": partial(RandomShooting, horizon=2, candidates=300),
    "CEM": partial(CEM, horizon=2, candidates=64, iterations=4, elites=8),
    "ICEM": partial(ICEM, horizon=2, candidates=64, iterations=4, elites=8, kept_elites=2),
    "MPPI": partial(MPPI, horizon=2, candidates=64, iterations=4),
    "PDDM": partial(PDDM, horizon=2, candidates=64, iterations=4),
    "Gradient": partial(Gradient, horizon=2),
}


@pytest.mark.parametrize("teacher", TEACHERS.values(), ids=TEACHERS)
def test_every_planner_can_teach_numbers(teacher):
    torch.manual_seed(0)
    model = aim()
    behaviour = Distillation(
        2, model.action_space, teacher, queries=4, student_fraction=0.0, **QUICK
    )
    labels = behaviour.query_teacher(model, at(torch.rand(4, 2)))
    # The best action is 0.5, whatever came before.
    assert (labels.action - 0.5).abs().max() < 0.15
    assert not labels.action.requires_grad


@pytest.mark.parametrize("name", ["RandomShooting", "CEM", "ICEM", "MPPI", "Gradient"])
def test_every_planner_of_choices_can_teach_them(name):
    torch.manual_seed(0)
    behaviour = Distillation(6, CHOICES, TEACHERS[name], queries=4, student_fraction=0.0, **QUICK)
    with torch.no_grad():
        labels = behaviour.query_teacher(chain(), at(torch.eye(6)[[0, 4, 3, 4]]))
    # One step left of the end, or two, it goes right; at the left end it stays.
    assert labels.action.argmax(-1).tolist() == [0, 1, 1, 1]


def test_queries_are_half_replayed_and_half_where_the_student_went():
    model, behaviour = chain(), rightwards(student(queries=8))
    torch.manual_seed(0)
    starts = at(torch.eye(6)[[0] * 8])
    labels = behaviour.query_teacher(model, starts)
    assert labels.feature[:4].argmax(-1).tolist() == [0] * 4
    # The student only ever goes right, one to five steps.
    reached = labels.feature[4:].argmax(-1).tolist()
    assert min(reached) >= 1
    assert len(set(reached)) > 1
    # From 3 and 4 two steps see the end; untrained, from further left only the 0.1 at place 0.
    places = labels.feature.argmax(-1).tolist()
    for place, action in zip(places, labels.action.argmax(-1).tolist()):
        assert action == {0: 0, 1: 0, 3: 1, 4: 1}.get(place, action)


def test_the_teacher_is_queried_at_every_kth_update():
    torch.manual_seed(0)
    model, behaviour = chain(), student(query_every=3)
    train(behaviour, model, *everywhere_on_the_chain(), updates=7)
    assert behaviour.teacher.calls == 3
    assert behaviour.memory.written == 3 * 16


def test_memory_keeps_the_newest_labels():
    memory = LabelMemory(1, 1, capacity=4)
    for first in (0, 3):
        numbers = torch.arange(first, first + 3.0)[:, None]
        memory.add(Labels(numbers, -numbers, 2 * numbers[:, 0]))
    torch.manual_seed(0)
    drawn = memory.draw(200)
    assert sorted(drawn.feature.unique().tolist()) == [2, 3, 4, 5]
    assert torch.equal(drawn.action, -drawn.feature)
    assert torch.equal(drawn.weight, 2 * drawn.feature[:, 0])


def test_memory_draws_nothing_that_was_not_written():
    memory = LabelMemory(1, 1, capacity=100)
    memory.add(Labels(torch.full((3, 1), 7.0), torch.ones(3, 1), torch.ones(3)))
    assert memory.draw(50).feature.unique().tolist() == [7]


@pytest.mark.usefixtures("without_shape_checks")
def test_a_continuous_student_copies_its_teacher_and_knows_the_value():
    torch.manual_seed(0)
    model, teacher = aim(discount=0.8), partial(RandomShooting, horizon=2, candidates=200)
    behaviour = Distillation(
        2, model.action_space, teacher, query_every=2, horizon=5, tau=0.2, **QUICK
    )
    train(behaviour, model, *replayed(torch.rand(24, 2)), updates=200)
    features = torch.rand(24, 2)
    assert (behaviour.policy(features).mode() - 0.5).abs().mean() < 0.1
    assert (behaviour.value(features) - 5).abs().max() < 0.25


def test_actions_at_the_bounds_can_be_imitated():
    behaviour = Distillation(2, ActionSpace(1, False), **QUICK)
    loss = behaviour.actor.imitation_loss(torch.rand(3, 2), torch.tensor([[1.0], [-1.0], [0.99]]))
    # Beyond tanh(2) = 0.964 labels are clamped: a normal at 2, with the std of a new actor.
    std = torch.tensor(2.0).log() + 0.1
    density = torch.distributions.Normal(0.0, std).log_prob(torch.tensor(2.0))
    likelihood = density - torch.log(1 - torch.tensor(2.0).tanh() ** 2)
    # A new actor's mode is 0.
    expected = IMITATION_WEIGHT * torch.tensor(2.0).tanh() ** 2 - likelihood
    torch.testing.assert_close(loss, expected.expand(3), rtol=1e-4, atol=0)


def test_the_gradient_of_a_students_mode_does_not_depend_on_its_spread():
    # Over raw outputs (mean, std): the mode's gradient is that of its own squared error.
    actor = ContinuousActor(2, 1, hidden=4, layers=1)
    raw = torch.tensor([[0.3, -5.0], [0.3, 2.0]], requires_grad=True)
    actor.net.forward = lambda feature: raw
    actor.imitation_loss(torch.rand(2, 2), torch.tensor([[-0.4], [-0.4]])).sum().backward()
    mean = torch.tensor(0.3, requires_grad=True)
    mode = (2 * (mean / 2).tanh()).tanh()
    (IMITATION_WEIGHT * (mode + 0.4) ** 2).backward()
    assert raw.grad is not None
    torch.testing.assert_close(raw.grad[:, 0], mean.grad.expand(2))


@pytest.mark.parametrize("space", [ActionSpace(2, False), ActionSpace(3, True)])
def test_no_gradient_crosses_between_world_model_and_student(space):
    model, batch = pixel_model(space), pixels(space)
    behaviour = pixel_student(model, space)
    torch.manual_seed(2)
    model.loss(batch)[0].total.backward()
    alone = [p.grad.clone() for p in model.parameters()]
    assert all(p.grad is None for p in behaviour.parameters())
    model.zero_grad()
    torch.manual_seed(2)
    losses, posterior = model.loss(batch)
    (losses.total + behaviour.loss(model, batch, posterior).total).backward()
    for parameter, reference in zip(model.parameters(), alone):
        assert torch.equal(parameter.grad, reference)
    for part in (behaviour.actor, behaviour.critic.head):
        assert all(p.grad.abs().sum() > 0 for p in part.parameters())


def test_a_terminal_state_teaches_nothing():
    space = ActionSpace(3, True)
    model, batch = pixel_model(space), pixels(space, ended=True)
    behaviour = pixel_student(model, space)
    losses = behaviour.loss(model, batch, model.loss(batch)[1])
    losses.total.backward()
    assert losses.total == 0
    assert all(p.grad.abs().sum() == 0 for p in behaviour.actor.parameters())


def test_a_label_counts_as_much_as_its_state_is_likely_to_be_reached():
    model, behaviour = chain(), rightwards(student(queries=16, student_fraction=0.5))
    places = torch.eye(6)[[5] * 4 + [2] * 4]
    labels = behaviour.query_teacher(model, at(places, 1 - places[:, -1]))
    # Replayed: 5 is the end. Reached: 3 and 4 lie before the end, and the end is an end.
    assert labels.weight[:8].tolist() == [0.0] * 4 + [1.0] * 4
    assert labels.weight[8:12].tolist() == [0.0] * 4
    there = labels.feature[12:].argmax(-1)
    assert labels.weight[12:].tolist() == (there < 5).float().tolist()
    assert there.unique().numel() > 1


def test_the_students_value_learns_from_the_slow_critic():
    model, behaviour = chain(), student()
    behaviour.critic.target.net.output.bias.data[-1] += 20.0
    seen = []
    behaviour.critic.loss = lambda feature, returns: seen.append(returns) or returns * 0
    behaviour.value_loss(model, at(torch.eye(6)[[2]]))
    assert seen[0].max() > 1000


def test_a_frozen_critic_learns_nothing_and_imagines_nothing():
    model, behaviour = chain(), student()
    behaviour.critic.head.requires_grad_(False)
    model.imagine = None
    assert behaviour.value_loss(model, at(torch.eye(6)[[2]])).item() == 0.0


def test_with_a_frozen_critic_the_policy_still_learns():
    torch.manual_seed(0)
    model, behaviour = chain(), student()
    behaviour.critic.head.requires_grad_(False)
    losses = behaviour.loss(model, *everywhere_on_the_chain())
    assert losses.metrics["loss/critic"] == 0
    assert losses.total == losses.metrics["loss/imitation"]
    losses.total.backward()
    assert all(p.grad is None for p in behaviour.critic.parameters())
    assert any(p.grad.abs().sum() > 0 for p in behaviour.actor.parameters())


def test_options_out_of_their_range_are_refused():
    for options, message in [
        ({"query_every": 0}, "query_every=0: choose 1 or more"),
        ({"queries": 1}, "queries=1: choose 2 or more"),
        ({"queries": 30, "starts": 14}, "starts=14: queries=30 need 15 or more"),
        ({"memory": 8}, "memory=8: choose 16 or more"),
    ]:
        with pytest.raises(ValueError, match=message):
            student(**options)


def test_at_a_student_fraction_of_0_all_queries_are_replayed():
    model, behaviour = chain(), student(queries=8, student_fraction=0.0)
    torch.manual_seed(0)
    starts = at(torch.eye(6)[[0] * 8])
    assert behaviour.query_teacher(model, starts).feature.argmax(-1).tolist() == [0] * 8


def test_at_a_student_fraction_of_1_no_query_is_where_the_student_started():
    model, behaviour = chain(), rightwards(student(queries=8, student_fraction=1.0))
    starts = at(torch.eye(6)[[0] * 8])
    assert behaviour.query_teacher(model, starts).feature.argmax(-1).min() >= 1


def test_a_student_fraction_above_1_is_refused():
    with pytest.raises(ValueError, match=r"student_fraction=1\.5: choose 0 to 1"):
        student(student_fraction=1.5)
