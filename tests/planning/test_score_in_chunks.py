"""``WorldModel.score`` in pieces and in bfloat16: the cap on memory changes no number."""

import inspect
from functools import partial

import pytest
import torch
from test_world_model import HalfBelowZero, Identity, Position, Walk, double, tiny

from worldmodels.dynamics import TS1, EnsembleRSSM, TSinf
from worldmodels.nn import precision
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.planning import CEM, MPC
from worldmodels.types import ActionSpace
from worldmodels.world_model import WorldModel


class DrunkWalk(Walk):
    """x moves by the sum of the action and by noise, which the plans of a start share."""

    def predict_steps(self, state, actions, plans=1):
        for action in actions.unbind(1):
            rows = len(actions) // plans
            noise = self.shared(torch.randn(rows, 1, dtype=state.x.dtype), plans)
            state = Position(state.x + action.sum(-1, keepdim=True) + noise)
            yield state


def drunk(space, particles=1):
    model = WorldModel(
        (3, 16, 16),
        space,
        encoder=partial(ConvEncoder, depth=2),
        decoder=None,
        dynamics=DrunkWalk,
        reward=Identity,
        continues=HalfBelowZero,
    )
    model.dynamics.particles = particles
    return model


def ensemble(propagation):
    torch.manual_seed(0)
    options = {"members": 3, "particles": 6, "stoch": 4, "deter": 8, "hidden": 8}
    model = WorldModel(
        (3, 16, 16),
        ActionSpace(1, False),
        encoder=partial(ConvEncoder, depth=2),
        decoder=None,
        dynamics=partial(EnsembleRSSM, propagation=propagation, **options),
    ).eval()
    torch.nn.init.normal_(model.reward.net.output.weight)
    return model


def asked_of(model, monkeypatch):
    """Rollouts that the model predicted at once, call by call."""
    rows, plan_starts = [], model.dynamics.plan_starts

    def counted(state, plans):
        starts = plan_starts(state, plans)
        rows.append(len(starts[0]))
        return starts

    monkeypatch.setattr(model.dynamics, "plan_starts", counted)
    return rows


def scored(model, *args, **options):
    """The scores, and what torch draws afterwards."""
    torch.manual_seed(4)
    with torch.no_grad():
        return model.score(*args, **options), torch.rand(1)


def test_chunks_meet_the_same_noise_and_respect_the_cap(monkeypatch):
    model = drunk(ActionSpace(2, False))
    state = Position(double([[0.5], [-1.0]]))
    plans = torch.rand(2, 10, 3, 2, dtype=torch.float64) - 0.5
    whole, after = scored(model, state, plans)
    assert whole.std(1).min() > 0.1
    rows = asked_of(model, monkeypatch)
    parts, after_parts = scored(model, state, plans, max_rollouts=7)
    assert torch.equal(parts, whole)
    # What is drawn afterwards is the same, too.
    assert torch.equal(after_parts, after)
    # Ten plans of two states: three at a time are 6 rollouts, four would be 8.
    assert rows == [6, 6, 6, 2]


def test_the_cap_counts_every_particle(monkeypatch):
    model = drunk(ActionSpace(1, False), particles=3)
    rows = asked_of(model, monkeypatch)
    plans = torch.rand(2, 5, 3, 1)
    whole, _ = scored(model, Position(torch.zeros(2, 1)), plans)
    parts, _ = scored(model, Position(torch.zeros(2, 1)), plans, max_rollouts=12)
    assert rows == [30, 12, 12, 6]
    assert torch.equal(parts, whole)


def test_every_state_has_at_least_one_plan_predicted(monkeypatch):
    model = drunk(ActionSpace(1, False), particles=3)
    rows = asked_of(model, monkeypatch)
    scores, _ = scored(model, Position(torch.zeros(2, 1)), torch.zeros(2, 2, 3, 1), max_rollouts=1)
    assert rows == [6, 6]
    assert torch.equal(scores[:, 0], scores[:, 1])


@pytest.mark.parametrize("propagation", [TSinf, TS1])
def test_chunks_of_an_ensemble_share_members_and_noise(propagation):
    model = ensemble(propagation)
    with torch.no_grad():
        state = model.dynamics.initial(2)
    plans = torch.randn(2, 5, 3, 1)
    whole, after = scored(model, state, plans)
    parts, after_parts = scored(model, state, plans, max_rollouts=13)
    torch.testing.assert_close(parts, whole)
    assert torch.equal(after_parts, after)
    assert whole.std(1).min() > 1e-3


def test_chunks_of_a_recurrent_model_equal_one_piece():
    model = tiny().eval()
    torch.nn.init.normal_(model.reward.net.output.weight)
    state, plans = model.dynamics.initial(2), torch.randn(2, 9, 4, 1)
    options = {"value": lambda feature: feature.sum(-1)}
    whole, after = scored(model, state, plans, **options)
    parts, after_parts = scored(model, state, plans, max_rollouts=5, **options)
    torch.testing.assert_close(parts, whole)
    assert torch.equal(after_parts, after)


def test_gradients_pass_through_chunks():
    model = drunk(ActionSpace(1, False))
    gradients = []
    for cap in (8192, 4):
        plans = torch.linspace(0, 1, 12).reshape(2, 3, 2, 1).requires_grad_()
        torch.manual_seed(0)
        model.score(Position(torch.full((2, 1), 9.0)), plans, max_rollouts=cap).sum().backward()
        gradients.append(plans.grad)
    assert torch.equal(*gradients)
    # Each action moves every later position: 1 + 0.99, then 0.99.
    torch.testing.assert_close(gradients[0][0, 0, :, 0], torch.tensor([1.99, 0.99]))


# Few candidates: in chunks of seven rollouts every one of them takes its time.
FEW = {"candidates": 40, "iterations": 3, "elites": 6, "kept_elites": 2, "starts": 5, "steps": 4}


def few(make):
    """The same planner with little to search."""
    sampler = make.keywords.get("sampler")
    given = {name: few(sampler) for name in ("sampler",) if sampler}
    # What PlaNet and Williams et al. do not keep stays so.
    keep = {"kept_elites"} if make.keywords.get("kept_elites") == 0 else set()
    taken = inspect.signature(make.func).parameters.keys() - keep
    return partial(make, **given, **{name: FEW[name] for name in FEW if name in taken})


def test_every_planner_finds_the_same_plan_in_chunks(make, space, rng, monkeypatch):
    model = drunk(space)
    rows = asked_of(model, monkeypatch)
    state, found = Position(torch.tensor([[0.5], [-0.5]])), []
    for cap in (8192, 7):
        rows.clear()
        planner = few(make)(space, 3)
        torch.manual_seed(4)
        score = partial(model.score, max_rollouts=cap)
        found.append((planner.plan(score, state, planner.initial(2), rng(0)), torch.rand(1)))
    assert max(rows) <= 7
    (whole, after), (parts, after_parts) = found
    assert parts.evaluations == whole.evaluations
    for one, other in zip(whole, parts, strict=True):
        assert one == other if isinstance(one, int) else torch.equal(one, other)
    assert torch.equal(after, after_parts)


@torch.no_grad()
def test_mpc_hands_its_cap_on(monkeypatch):
    model = ensemble(TSinf)
    rows = asked_of(model, monkeypatch)
    planner = CEM(ActionSpace(1, False), 3, candidates=8, iterations=2, elites=3)
    mpc = MPC(planner, max_rollouts=36)
    first = torch.ones(2, dtype=torch.bool)
    _, after = mpc.act(model, model.dynamics.initial(2), mpc.initial(2), first)
    assert max(rows) == 36
    assert after.evaluations.tolist() == [sum(rows) // 12] * 2


@torch.no_grad()
@pytest.mark.parametrize("native", [False, True])
def test_plans_are_scored_in_bfloat16_where_there_is_much_to_multiply(native, monkeypatch):
    model = drunk(ActionSpace(1, False))
    monkeypatch.setattr(precision, "has_bfloat16_units", lambda: native)
    # A feature has width 1: six rollouts are enough.
    monkeypatch.setattr(precision, "LEAST_WORK", 6)
    monkeypatch.setattr(
        model.reward,
        "forward",
        lambda feature: torch.full_like(feature[..., 0], float(torch.is_autocast_enabled("cpu"))),
    )

    def rounds(batch, plans, particles=1, fast=True, **options):
        model.dynamics.particles = particles
        start = Position(torch.zeros(batch, 1))
        scores = model.score(start, torch.zeros(batch, plans, 1, 1), fast=fast, **options)
        assert not torch.is_autocast_enabled("cpu")
        return bool(scores.all())

    assert not rounds(1, 5)
    assert rounds(1, 6) == native
    assert rounds(2, 3) == native
    assert rounds(1, 2, particles=3) == native
    # What is multiplied at once counts.
    assert not rounds(1, 12, max_rollouts=5)
    assert not rounds(1, 12, fast=False)
