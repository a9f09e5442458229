import pytest
import torch
from tiny_model import Model, Position, Seen, batch_of, seen
from torch import nn

from worldmodels.losses import RedundancyReduction
from worldmodels.losses.base import embed_std, standardize


def slow_loss(predicted, embed, off_diagonal):
    """Barlow Twins' sums, entry by entry in float64, and the mean of the diagonal."""
    size = embed.shape[1]
    total, diagonal = 0.0, 0.0
    for i in range(size):
        for j in range(size):
            x, y = predicted[:, i].detach().double(), embed[:, j].detach().double()
            x, y = x - x.mean(), y - y.mean()
            correlation = float((x * y).mean() / (x.square().mean() * y.square().mean()).sqrt())
            if i == j:
                total += (1 - correlation) ** 2
                diagonal += correlation / size
            else:
                total += off_diagonal * correlation**2
    return total, diagonal


def made(off_diagonal=0.3):
    torch.manual_seed(0)
    term = RedundancyReduction(weight=2.0, off_diagonal=off_diagonal)
    term.setup(Model())
    return term


def identical(term):
    """Features are compared as they are."""
    nn.init.eye_(term.projection.weight)
    return term


def test_loss_by_the_slow_sums():
    term, batch = made(), batch_of(3, 4)
    observed = seen(batch)
    parts = term(Model(), batch, observed)
    predicted = observed.feature @ term.projection.weight.T
    loss, diagonal = slow_loss(predicted.flatten(0, 1), observed.embed.flatten(0, 1), 0.3)
    assert parts["redundancy"].shape == (3, 4)
    assert parts["redundancy"].mean().item() == pytest.approx(loss, rel=1e-4)
    assert parts["correlation"].mean().item() == pytest.approx(diagonal, abs=1e-4)
    assert term.weights == {"redundancy": 2.0}


def test_the_embedding_is_a_fixed_target_and_features_learn():
    term, batch = made(), batch_of(3, 4)
    observed = seen(batch)
    parts = term(Model(), batch, observed)
    parts["redundancy"].mean().backward()
    assert observed.embed.grad is None
    assert observed.feature.grad.abs().min() > 0
    assert term.projection.weight.grad.abs().min() > 0
    assert not parts["correlation"].requires_grad
    assert not parts["embed_std"].requires_grad


def test_collapse_and_redundancy_cost_more_than_informative_latents():
    term, batch = identical(made()), batch_of(4, 64)
    told = torch.randn(4, 64, 2, generator=torch.Generator().manual_seed(3))

    def cost(feature):
        observed = Seen(told, Position(feature), Position(feature), feature)
        return term(Model(), batch, observed)["redundancy"].mean().item()

    informative, half = cost(5 * told + 3), cost(told * torch.tensor([1.0, 0.0]))
    collapsed = cost(torch.ones_like(told))
    redundant = cost(told[..., :1].repeat(1, 1, 2))
    assert informative == pytest.approx(0.0, abs=0.02)
    assert half == pytest.approx(1.0, abs=0.02)
    assert collapsed == pytest.approx(2.0, abs=1e-5)
    assert redundant == pytest.approx(1.0 + 0.3, abs=0.2)


def test_columns_are_standardized_and_constant_ones_stay_at_zero():
    x = torch.tensor([[1.0, 7.0], [3.0, 7.0]])
    torch.testing.assert_close(standardize(x), torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))


def test_embed_std_is_zero_for_equal_frames_and_one_for_balanced_signs():
    signs = torch.tensor([[3.0, 3.0], [-3.0, -3.0]])
    assert embed_std(signs[None]).item() == pytest.approx(1.0)
    assert embed_std(torch.full((2, 3, 4), 5.0)).item() == pytest.approx(0.0, abs=1e-6)
    # Alike up to scale is alike.
    assert embed_std(torch.tensor([[1.0, 2.0], [10.0, 20.0]])).item() == pytest.approx(0, abs=1e-6)


def test_statistics_stay_in_float32_under_autocast():
    term, batch = made(), batch_of(3, 4)
    observed = seen(batch)
    expected = term(Model(), batch, observed)["redundancy"]
    with torch.autocast("cpu", torch.bfloat16):
        parts = term(Model(), batch, observed)
    assert all(part.dtype == torch.float32 for part in parts.values())
    torch.testing.assert_close(parts["redundancy"], expected)


def test_negative_weights_are_refused():
    with pytest.raises(ValueError, match=r"off_diagonal=-1\.0: choose 0 or more"):
        RedundancyReduction(off_diagonal=-1.0)
