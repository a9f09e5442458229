import math

import pytest
import torch
from torch import distributions as reference

from worldmodels.nn.distributions import (
    Bernoulli,
    DiagonalGaussian,
    OneHotStraightThrough,
    TanhNormal,
    TwoHot,
    symexp,
    symexp_bins,
    symlog,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_symlog_and_symexp_of_known_numbers():
    x = torch.tensor([0.0, math.e - 1, -(math.e**2 - 1)], dtype=torch.float64)
    expected = torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64)
    torch.testing.assert_close(symlog(x), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(symexp(expected), x, rtol=1e-12, atol=0)


def test_symexp_undoes_symlog_over_twelve_decades():
    x = torch.tensor([-1e6, -3.5, -1e-6, 0.0, 1e-6, 0.7, 1e6], dtype=torch.float64)
    torch.testing.assert_close(symexp(symlog(x)), x, rtol=1e-12, atol=0)


def test_bins_are_symmetric_and_even_in_symlog():
    bins = symexp_bins(5, 2.0)
    expected = [1 - math.e**2, 1 - math.e, 0, math.e - 1, math.e**2 - 1]
    torch.testing.assert_close(bins, torch.tensor(expected))
    wide = symexp_bins(255, 20.0)
    assert torch.equal(wide, -wide.flip(0))
    assert wide[127] == 0


@pytest.mark.parametrize("count", [1, 40])
def test_an_even_number_of_bins_is_refused(count):
    with pytest.raises(ValueError, match=rf"bins={count}: .* odd number"):
        symexp_bins(count, 20.0)


BINS = torch.tensor([-4.0, -1.0, 0.0, 1.0, 4.0])


@pytest.mark.parametrize(
    ("value", "target"),
    [
        (0.0, [0, 0, 1, 0, 0]),
        (0.25, [0, 0, 0.75, 0.25, 0]),
        (-2.0, [1 / 3, 2 / 3, 0, 0, 0]),
        (4.0, [0, 0, 0, 0, 1]),
        (1e9, [0, 0, 0, 0, 1]),
        (-1e9, [1, 0, 0, 0, 0]),
    ],
)
def test_two_hot_target_of_known_numbers(value, target):
    twohot = TwoHot(torch.zeros(5), BINS)
    torch.testing.assert_close(
        twohot.encode(torch.tensor(value)), torch.tensor(target, dtype=torch.float32)
    )


def shares(value, bins):
    """The two-hot target, bin after bin."""
    value, found = min(max(value, bins[0]), bins[-1]), [0.0] * len(bins)
    for k in range(len(bins) - 1):
        if bins[k] <= value <= bins[k + 1]:
            found[k + 1] = (value - bins[k]) / (bins[k + 1] - bins[k])
            found[k] = 1 - found[k + 1]
            return found


def test_two_hot_targets_in_double_equal_a_search_bin_after_bin():
    bins = symexp_bins(9, 3.0).double()
    values = [*bins.tolist(), -1e9, -17.0, -1e-9, 0.1, 2.7, 19.0, 1e9]
    found = TwoHot(torch.zeros(9), bins).encode(torch.tensor(values, dtype=torch.float64))
    expected = torch.tensor([shares(value, bins.tolist()) for value in values], dtype=found.dtype)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_two_hot_mean_and_log_prob_round_plain_sums_in_double_to_single_precision():
    # Whatever the logits are in, `TwoHot` takes them as float32; the sums here do not round.
    bins, logits = symexp_bins(41, 5.0), 2 * torch.randn(20, 41).double()
    values, means, log_probs = 60 * torch.randn(20), [], []
    for row, value in zip(logits.tolist(), values.tolist()):
        norm = math.log(sum(math.exp(logit) for logit in row))
        weighted = [math.exp(logit - norm) * b for logit, b in zip(row, bins.tolist())]
        split = shares(value, bins.tolist())
        means.append(sum(weighted))
        log_probs.append(sum(share * (logit - norm) for share, logit in zip(split, row)))
    twohot = TwoHot(logits, bins)
    torch.testing.assert_close(twohot.mean(), torch.tensor(means), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(twohot.log_prob(values), torch.tensor(log_probs), rtol=1e-5, atol=0)


def test_mean_of_an_encoded_number_is_the_number():
    bins = symexp_bins(255, 20.0)
    values = torch.tensor([0.0, 1e-3, -0.5, 1.0, 37.25, -1234.5, 1e6])
    target = TwoHot(torch.zeros(7, 255), bins).encode(values)
    decoded = TwoHot(target.log(), bins).mean()
    torch.testing.assert_close(decoded, values, rtol=1e-5, atol=1e-6)


def test_mean_of_uniform_probabilities_is_exactly_zero_despite_huge_bins():
    logits = torch.full((3, 255), 0.1)
    assert TwoHot(logits, symexp_bins(255, 20.0)).mean().tolist() == [0, 0, 0]


def test_two_hot_log_prob_is_minus_the_dense_cross_entropy():
    logits, values = torch.randn(6, 5), torch.tensor([-9.0, -2.0, 0.0, 0.25, 3.0, 9.0])
    twohot = TwoHot(logits, BINS)
    dense = (twohot.encode(values) * logits.log_softmax(-1)).sum(-1)
    torch.testing.assert_close(twohot.log_prob(values), dense)


def test_two_hot_entropy_mode_and_sample():
    probs = torch.tensor([0.1, 0.2, 0.0, 0.3, 0.4])
    twohot = TwoHot(probs.log().clamp_min(-50).expand(20_000, 5), BINS)
    expected = reference.Categorical(probs=probs).entropy()
    torch.testing.assert_close(twohot.entropy()[0], expected)
    assert twohot.mode()[0] == 4
    sample = twohot.sample()
    for value, prob in zip(BINS, probs, strict=True):
        assert abs((sample == value).float().mean().item() - prob.item()) < 0.015


def test_unimix_probabilities_are_exact():
    logits = torch.tensor([0.0, math.log(3)], dtype=torch.float64)
    probs = OneHotStraightThrough(logits, unimix=0.1).probs
    torch.testing.assert_close(probs, torch.tensor([0.275, 0.725], dtype=torch.float64))


def test_samples_are_one_hot_and_follow_the_probabilities():
    probs = torch.tensor([0.5, 0.0, 0.2, 0.3])
    logits = probs.log().clamp_min(-80).expand(40_000, 4)
    sample = OneHotStraightThrough(logits).sample()
    assert torch.equal(sample.sum(-1), torch.ones(40_000))
    assert sample.unique().tolist() == [0, 1]
    frequency = sample.mean(0)
    assert (frequency - probs).abs().max() < 0.01
    assert frequency[1] == 0


def test_the_last_class_takes_what_rounding_leaves(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.full(shape, 1 - 2**-24))
    assert OneHotStraightThrough(torch.zeros(2, 7)).sample().argmax(-1).tolist() == [6, 6]


def test_the_first_class_is_not_drawn_at_probability_zero(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.zeros(shape))
    assert OneHotStraightThrough(torch.tensor([-200.0, 0.0])).sample().tolist() == [0, 1]


@pytest.mark.parametrize("draw", ["sample", "mode"])
def test_straight_through_gradient_is_that_of_the_softmax(draw):
    weight = torch.randn(3, 5, dtype=torch.float64)
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    drawn = getattr(OneHotStraightThrough(logits), draw)()
    (straight,) = torch.autograd.grad((drawn * weight).sum(), logits)
    (soft,) = torch.autograd.grad((logits.softmax(-1) * weight).sum(), logits)
    torch.testing.assert_close(straight, soft)


def test_one_hot_values_against_torch_distributions_summed_over_the_stack():
    logits, other = torch.randn(2, 6, 4, 5).double(), torch.randn(2, 6, 4, 5).double()
    a, b = (OneHotStraightThrough(x, stack_axes=1) for x in (logits, other))
    p, q = (
        reference.Independent(reference.OneHotCategorical(logits=x), 1) for x in (logits, other)
    )
    value = p.sample()
    torch.testing.assert_close(a.log_prob(value), p.log_prob(value))
    torch.testing.assert_close(a.entropy(), p.entropy())
    torch.testing.assert_close(a.kl(b), reference.kl_divergence(p, q))
    assert torch.equal(a.mode().argmax(-1), logits.argmax(-1))


def test_a_single_categorical_keeps_every_leading_axis():
    logits = torch.randn(2, 3, 5)
    entropy = OneHotStraightThrough(logits).entropy()
    torch.testing.assert_close(entropy, reference.Categorical(logits=logits).entropy())


def test_gaussian_values_against_torch_distributions():
    means, stds = torch.randn(2, 3, 4).double(), torch.rand(2, 3, 4).double() + 0.1
    a, b = DiagonalGaussian(means[0], stds[0]), DiagonalGaussian(means[1], stds[1])
    p, q = (reference.Independent(reference.Normal(*x), 1) for x in zip(means, stds, strict=True))
    value = torch.randn(3, 4).double()
    torch.testing.assert_close(a.log_prob(value), p.log_prob(value))
    torch.testing.assert_close(a.entropy(), p.entropy())
    torch.testing.assert_close(a.kl(b), reference.kl_divergence(p, q))


def test_gaussian_kl_by_hand():
    a = DiagonalGaussian(torch.tensor([1.0]), torch.tensor([1.0]))
    b = DiagonalGaussian(torch.tensor([0.0]), torch.tensor([2.0]))
    # ln 2 + (1 + 1) / 8 - 1 / 2
    assert a.kl(b).item() == pytest.approx(math.log(2) - 0.25, abs=1e-6)


def test_gaussian_samples_are_reparameterised():
    mean = torch.full((100_000, 1), 0.5, requires_grad=True)
    std = torch.full((100_000, 1), 2.0, requires_grad=True)
    sample = DiagonalGaussian(mean, std).sample()
    assert abs(sample.mean().item() - 0.5) < 0.03
    assert abs(sample.std().item() - 2.0) < 0.03
    to_mean, to_std = torch.autograd.grad(sample.sum(), (mean, std))
    assert torch.equal(to_mean, torch.ones_like(mean))
    torch.testing.assert_close(to_std, (sample.detach() - 0.5) / 2)


def tanh_reference(mean, std):
    squashed = reference.TransformedDistribution(
        reference.Normal(mean, std), reference.TanhTransform(cache_size=1)
    )
    return reference.Independent(squashed, 1)


def test_tanh_normal_log_prob_is_the_change_of_variables():
    mean, std = torch.randn(50, 3).double(), torch.rand(50, 3).double() + 0.2
    value = torch.tanh(mean + std * torch.randn(50, 3).double())
    torch.testing.assert_close(
        TanhNormal(mean, std).log_prob(value), tanh_reference(mean, std).log_prob(value)
    )


def test_tanh_normal_density_integrates_to_one():
    grid = torch.linspace(-1, 1, 200_001, dtype=torch.float64)[1:-1, None]
    policy = TanhNormal(torch.tensor([0.3]).double(), torch.tensor([0.6]).double())
    total = policy.log_prob(grid).exp().sum() * (grid[1] - grid[0])[0]
    assert total.item() == pytest.approx(1, abs=1e-4)


def test_tanh_normal_is_finite_on_the_border_and_far_out():
    mean = torch.tensor([[8.0], [-20.0], [0.0]], requires_grad=True)
    policy = TanhNormal(mean, torch.ones(3, 1))
    values = policy.log_prob(torch.tensor([[1.0], [-1.0], [1.0]])) + policy.entropy()
    assert values.isfinite().all()
    assert torch.autograd.grad(values.sum(), mean)[0].isfinite().all()


def test_tanh_normal_entropy_estimate_averages_to_the_integral():
    mean, std = torch.tensor([0.4]).double(), torch.tensor([0.8]).double()
    grid = torch.linspace(-1, 1, 200_001, dtype=torch.float64)[1:-1, None]
    log_density = TanhNormal(mean, std).log_prob(grid)
    integral = -(log_density.exp() * log_density).sum() * (grid[1] - grid[0])[0]
    rows = TanhNormal(mean.expand(200_000, 1), std.expand(200_000, 1))
    assert rows.entropy().mean().item() == pytest.approx(integral.item(), abs=0.01)


def test_tanh_normal_from_raw_bounds_the_mean_and_floors_the_std():
    raw = torch.tensor([0.0, 1e3, 0.0, -1e3])
    policy = TanhNormal.from_raw(raw, min_std=0.1, mean_bound=2.0)
    torch.testing.assert_close(policy.normal.mean, torch.tensor([0.0, 2.0]))
    torch.testing.assert_close(policy.normal.std, torch.tensor([math.log(2) + 0.1, 0.1]))
    torch.testing.assert_close(policy.mode(), torch.tensor([0.0, math.tanh(2)]))


def test_bernoulli_values_against_torch_distributions():
    logits = torch.randn(4, 6).double()
    coin, expected = Bernoulli(logits), reference.Bernoulli(logits=logits)
    value = torch.randint(0, 2, (4, 6)).double()
    torch.testing.assert_close(coin.mean(), expected.probs)
    torch.testing.assert_close(coin.log_prob(value), expected.log_prob(value))
    torch.testing.assert_close(coin.entropy(), expected.entropy())
    assert torch.equal(coin.mode(), (expected.probs > 0.5).double())
    flips = Bernoulli(torch.full((40_000,), math.log(3))).sample()
    assert flips.unique().tolist() == [0, 1]
    assert abs(flips.mean().item() - 0.75) < 0.01
