import pytest
import torch
from torch.distributions import Independent, Normal

from worldmodels.behaviours.actors import (
    BoundedNormalActor,
    ContinuousActor,
    DiscreteActor,
    make_actor,
)
from worldmodels.nn.blocks import LayerNorm, RMSNorm
from worldmodels.types import ActionSpace


def bounded(**options):
    torch.manual_seed(0)
    actor = BoundedNormalActor(3, 2, hidden=8, layers=1, **options).double()
    return actor, torch.randn(5, 3, dtype=torch.float64)


def test_the_bounded_normal_by_hand():
    actor, feature = bounded(outscale=4.0)
    raw = actor.net(feature)
    mean = (raw[:, :2].exp() - (-raw[:, :2]).exp()) / (raw[:, :2].exp() + (-raw[:, :2]).exp())
    std = 0.1 + 0.9 / (1 + torch.exp(-(raw[:, 2:] + 2)))
    policy, reference = actor(feature), Independent(Normal(mean, std), 1)
    torch.testing.assert_close(policy.mode(), mean)
    action = 3 * torch.randn(5, 2, dtype=torch.float64)
    torch.testing.assert_close(policy.log_prob(action), reference.log_prob(action))
    torch.testing.assert_close(policy.entropy(), reference.entropy())


def test_bounded_normal_samples_are_not_squashed():
    actor, feature = bounded()
    torch.manual_seed(1)
    samples = actor(feature.expand(4000, 5, 3)).sample()
    # An untrained policy has mean 0 and standard deviation 0.1 + 0.9 sigmoid(2) = 0.893.
    assert samples.std().item() == pytest.approx(0.8927, rel=0.02)
    assert samples.abs().max() > 2


def test_a_bounded_normal_imitates_with_its_mean():
    actor, feature = bounded(outscale=1.0)
    action = torch.rand(5, 2, dtype=torch.float64)
    policy = actor(feature)
    likelihood = Independent(Normal(policy.mean, policy.std), 1).log_prob(action)
    expected = 4 * (policy.mean - action).square().sum(-1) - likelihood
    torch.testing.assert_close(actor.imitation_loss(feature, action), expected)


def test_the_action_space_chooses_the_actor():
    numbers, choices = ActionSpace(2, False), ActionSpace(3, True)
    assert type(make_actor(4, numbers, 8, 1)) is ContinuousActor
    made = [
        make_actor(4, space, 8, 2, BoundedNormalActor, RMSNorm, 0.01)
        for space in (numbers, choices)
    ]
    assert [type(actor) for actor in made] == [BoundedNormalActor, DiscreteActor]
    for actor in made:
        assert [type(stage[1]) for stage in actor.net.hidden] == [RMSNorm] * 2
        assert 0 < actor.net.output.weight.abs().max() < 0.01
    assert type(make_actor(4, choices, 8, 1).net.hidden[0][1]) is LayerNorm


def test_an_order_of_deviations_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"min_std=2\.0, max_std=1\.0: choose 0 < min_std"):
        BoundedNormalActor(3, 2, 8, 1, min_std=2.0)
