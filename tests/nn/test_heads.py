import math

import pytest
import torch
from torch import nn

from worldmodels.nn.blocks import RMSNorm
from worldmodels.nn.heads import ContinueHead, GaussianRewardHead, NeverEnds, TwoHotHead


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (GaussianRewardHead(5, hidden=8), 0.0),
        (TwoHotHead(5, hidden=8), 0.0),
        (ContinueHead(5, hidden=8), 0.5),
        (NeverEnds(5), 1.0),
    ],
)
def test_untrained_heads_answer_without_bias(head, expected):
    assert head(torch.randn(2, 3, 5)).tolist() == [[expected] * 3] * 2


def test_gaussian_loss_is_half_the_squared_error_of_each_element():
    head = GaussianRewardHead(2, layers=0)
    nn.init.ones_(head.net.output.weight)
    feature = torch.tensor([[1.0, 2.0], [0.5, -0.5]])
    torch.testing.assert_close(head(feature), torch.tensor([3.0, 0.0]))
    loss = head.loss(feature, torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(loss, torch.tensor([2.0, 4.5]))


def test_two_hot_loss_of_an_untrained_head_is_the_log_of_the_bins():
    head = TwoHotHead(2, bins=41)
    loss = head.loss(torch.randn(3, 2), torch.tensor([0.0, 17.3, -1e12]))
    torch.testing.assert_close(loss, torch.full((3,), math.log(41)))


def test_continue_loss_is_the_cross_entropy_of_each_element():
    head = ContinueHead(1, layers=0)
    nn.init.ones_(head.net.output.weight)
    feature = torch.tensor([[math.log(3)], [math.log(3)], [0.0]])
    torch.testing.assert_close(head(feature), torch.tensor([0.75, 0.75, 0.5]))
    loss = head.loss(feature, torch.tensor([1.0, 0.0, 0.5]))
    expected = [-math.log(0.75), -math.log(0.25), math.log(2)]
    torch.testing.assert_close(loss, torch.tensor(expected))


@pytest.mark.parametrize("scale", [0.1, 1000.0])
def test_two_hot_head_learns_targets_of_any_scale_with_one_step_size(scale):
    torch.manual_seed(0)
    head = TwoHotHead(2, hidden=32, layers=1)
    feature = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    target = scale * torch.tensor([1.0, -1.0, 0.25])
    optimiser = torch.optim.Adam(head.parameters(), 0.01)
    for _ in range(300):
        optimiser.zero_grad()
        head.loss(feature, target).mean().backward()
        optimiser.step()
    torch.testing.assert_close(head(feature), target, rtol=0.05, atol=0.02 * scale)


def test_two_hot_bins_travel_with_the_weights():
    assert "bins" in TwoHotHead(2, bins=41).state_dict()


@pytest.mark.parametrize("probability", [0.998, 0.999])
def test_the_probability_to_continue_is_exact_under_mixed_precision(probability):
    head = ContinueHead(4, hidden=8)
    logit = math.log(probability / (1 - probability))
    nn.init.constant_(head.net.output.bias, logit)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = head.net(torch.zeros(3, 4))[..., 0]
        found = head(torch.zeros(3, 4))
        loss = head.loss(torch.zeros(3, 4), torch.ones(3))
    assert (rounded.dtype, found.dtype) == (torch.bfloat16, torch.float32)
    # The network's answer has three digits, which move 1 - p by 1.6 % at most ...
    assert found[0].item() == pytest.approx(probability, abs=0.016 * (1 - probability))
    # ... and nothing is lost after it; in bfloat16 these are 0.996 and 1.
    exact = 1 / (1 + math.exp(-rounded[0].item()))
    assert found[0].item() == pytest.approx(exact, abs=1e-6)
    torch.testing.assert_close(loss, torch.full((3,), -math.log(exact)), rtol=1e-4, atol=0)


@pytest.mark.parametrize("head", [GaussianRewardHead, TwoHotHead, ContinueHead])
def test_heads_take_a_norm(head):
    made = head(5, hidden=8, layers=3, norm=RMSNorm)
    assert [type(stage[1]) for stage in made.net.hidden] == [RMSNorm] * 3
    assert (made.net.output.weight == 0).all()


def test_a_continue_head_may_begin_with_an_opinion():
    torch.manual_seed(0)
    begun = ContinueHead(5, hidden=4000, layers=1, outscale=0.5).net.output.weight
    assert begun.std().item() == pytest.approx(0.5 / 4000**0.5, rel=0.05)
