"""``check dynamics``: equal plans of one start must be predicted alike, and other rules."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from worldmodels.dynamics import (
    TS1,
    BlockRSSM,
    CategoricalEnsembleRSSM,
    CategoricalRSSM,
    Dynamics,
    EnsembleRSSM,
    FrameStack,
    GaussianRSSM,
)
from worldmodels.dynamics.check import check_dynamics


class Place(NamedTuple):
    x: Tensor


class Drift(Dynamics):
    """A linear latent with noise, all of it drawn in ``prior``: the trap."""

    def __init__(self, embed_dim, action_dim):
        super().__init__()
        self.feature_dim = 4
        self.move, self.see = nn.Linear(action_dim, 4), nn.Linear(embed_dim, 4)

    def initial(self, batch):
        return Place(torch.zeros(batch, 4))

    def prior(self, state, action):
        return Place(state.x + self.move(action) + torch.randn_like(state.x))

    def posterior(self, prior, embed):
        return Place(0.5 * prior.x + self.see(embed))

    def kl(self, posterior, prior):
        return (posterior.x - prior.x).square().sum(-1)

    def feature(self, state):
        return state.x


class FairDrift(Drift):
    """Draws the noise once for all plans of a start, as the message says."""

    def predict_steps(self, state, actions, plans=1):
        for action in actions.unbind(1):
            noise = self.shared(torch.randn(len(action) // plans, 4), plans)
            state = Place(state.x + self.move(action) + noise)
            yield state


class ManyFairDrift(FairDrift):
    particles = 2


class Misplaced(FairDrift):
    """Lays the plans of a start out one after the other, not the starts."""

    particles = 2

    def predict_steps(self, state, actions, plans=1):
        for action in actions.unbind(1):
            noise = torch.randn(len(action) // plans, 4).repeat(plans, 1)
            state = Place(state.x + self.move(action) + noise)
            yield state


class FewStarts(FairDrift):
    def plan_starts(self, state, plans):
        return state


class Small(EnsembleRSSM):
    """TS1 draws members, too."""

    def __init__(self, embed_dim, action_dim):
        super().__init__(embed_dim, action_dim, members=3, particles=6, propagation=TS1, deter=8)


@pytest.mark.parametrize("cls", [Drift, Misplaced])
def test_dynamics_whose_equal_plans_differ_are_refused(cls):
    with pytest.raises(ValueError, match="predicts equal plans of one start differently") as error:
        check_dynamics(cls)
    assert str(error.value) == (
        f"{cls.__name__}.predict_steps(state, actions, plans=3) predicts equal plans of one start "
        "differently: draw noise once per start and particle, and hand it to its plans with "
        "self.shared(noise, plans)"
    )


@pytest.mark.parametrize(
    "cls",
    [
        FairDrift, ManyFairDrift, GaussianRSSM, CategoricalRSSM, EnsembleRSSM,
        CategoricalEnsembleRSSM, Small, FrameStack, BlockRSSM,
    ],
)  # fmt: skip
def test_sound_dynamics_pass(cls):
    report = check_dynamics(cls)
    assert report.name == cls.__name__
    assert report.feature_dim == cls(32, 2).feature_dim


def test_starts_that_are_not_laid_out_are_refused():
    with pytest.raises(
        ValueError, match=r"feature\(plan_starts\(...\)\) has shape \(3, 4\)"
    ) as error:
        check_dynamics(FewStarts)
    assert "return (9, 4)" in str(error.value)


def test_what_is_no_dynamics_is_refused():
    with pytest.raises(ValueError, match="derive it"):
        check_dynamics(nn.Linear)


def test_a_wrong_feature_size_is_named():
    class Wrong(FairDrift):
        def feature(self, state):
            return state.x[..., :2]

    with pytest.raises(ValueError, match=r"Wrong.feature has shape \(3, 2\): return \(3, 4\)"):
        check_dynamics(Wrong)


def test_a_state_without_names_is_refused():
    class Bare(FairDrift):
        def initial(self, batch):
            return (torch.zeros(batch, 4),)

    with pytest.raises(ValueError, match=r"Bare.initial\(3\) returned tuple: return a NamedTuple"):
        check_dynamics(Bare)


def test_a_gradient_that_is_not_finite_is_named():
    class Kink(FairDrift):
        def posterior(self, prior, embed):
            return Place(prior.x + (self.see.weight * 0).sum().sqrt())

    with pytest.raises(ValueError, match=r"Kink: the gradient of see\.weight is not finite"):
        check_dynamics(Kink)
