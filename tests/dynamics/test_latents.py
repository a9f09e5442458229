import torch
from torch.distributions import Categorical, Independent, Normal, kl_divergence

from worldmodels.dynamics import CategoricalRSSM
from worldmodels.dynamics.latents import CategoricalLatent, GaussianLatent


def test_gaussian_kl_equals_the_reference():
    latent = GaussianLatent(4, 0.1)
    a, b = latent.params(torch.randn(3, 8)), latent.params(torch.randn(3, 8))

    def normal(params):
        return Independent(Normal(params[:, :4], params[:, 4:]), 1)

    torch.testing.assert_close(latent.kl(a, b), kl_divergence(normal(a), normal(b)))
    torch.testing.assert_close(latent.kl(a, a), torch.zeros(3), atol=1e-6, rtol=0)


def test_gaussian_std_has_a_floor():
    params = GaussianLatent(1, 0.1).params(torch.tensor([0.3, -100.0]))
    torch.testing.assert_close(params, torch.tensor([0.3, 0.1]))


def test_categorical_kl_sums_over_the_stack():
    latent = CategoricalLatent(2, 3, 0.01)
    a, b = latent.params(torch.randn(5, 6)), latent.params(torch.randn(5, 6))
    expected = sum(
        kl_divergence(Categorical(logits=a[:, i : i + 3]), Categorical(logits=b[:, i : i + 3]))
        for i in (0, 3)
    )
    torch.testing.assert_close(latent.kl(a, b), expected)


def test_unimix_keeps_every_class_alive():
    latent = CategoricalLatent(1, 4, 0.1)
    probs = latent.params(torch.tensor([50.0, 0.0, 0.0, 0.0])).exp()
    torch.testing.assert_close(probs, torch.tensor([0.925, 0.025, 0.025, 0.025]))


def test_samples_are_one_hot_at_the_right_frequencies():
    torch.manual_seed(0)
    latent = CategoricalLatent(1, 3, 0.0)
    params = latent.params(torch.tensor([0.2, 0.5, 0.3]).log()).expand(20_000, 3)
    samples = latent.sample(params, latent.noise((20_000,), params))
    assert set(samples.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(samples.mean(0), torch.tensor([0.2, 0.5, 0.3]), atol=0.015, rtol=0)


def test_inverse_cdf_picks_the_bin_that_holds_the_noise():
    latent = CategoricalLatent(1, 3, 0.0)
    params = latent.params(torch.tensor([0.2, 0.5, 0.3]).log()).expand(4, 3)
    noise = torch.tensor([[0.1], [0.3], [0.69], [0.9999999]])
    assert latent.sample(params, noise).argmax(-1).tolist() == [0, 1, 1, 2]


def test_straight_through_gradient_is_the_gradient_of_the_probabilities():
    latent = CategoricalLatent(1, 3, 0.0)
    raw = torch.randn(3, requires_grad=True)
    weight = torch.tensor([1.0, -2.0, 0.5])
    (latent.sample(latent.params(raw), torch.tensor([0.4])) * weight).sum().backward()
    (expected,) = torch.autograd.grad((raw.softmax(-1) * weight).sum(), raw)
    torch.testing.assert_close(raw.grad, expected)


def test_probabilities_stay_exact_under_mixed_precision():
    torch.manual_seed(0)
    latent = CategoricalLatent(4, 8, 0.01)
    raw = torch.randn(5, 32)
    params = latent.params(raw.bfloat16())
    assert params.dtype == torch.float32
    torch.testing.assert_close(params, latent.params(raw.bfloat16().float()), rtol=0, atol=0)
    assert latent.params(raw.double()).dtype == torch.float64


def test_a_categorical_model_predicts_exact_probabilities_under_mixed_precision():
    torch.manual_seed(0)
    dynamics = CategoricalRSSM(6, 2, stack=4, classes=8, deter=16, hidden=16)
    start = dynamics.initial(3)
    with torch.autocast("cpu", torch.bfloat16):
        prior = dynamics.prior(start, torch.randn(3, 2))
        (planned,) = dynamics.predict_steps(dynamics.plan_starts(start, 2), torch.randn(6, 1, 2), 2)
    for state in (prior, planned):
        assert state.params.dtype == torch.float32
        sums = state.params.reshape(-1, 4, 8).exp().sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-6)
