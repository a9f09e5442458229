"""One refit of every sampling planner against loops and hand arithmetic."""

import math

import pytest
import torch

from worldmodels.planning import CEM, ICEM, MPPI, PDDM
from worldmodels.planning.noise import coloured, filtered, white
from worldmodels.planning.search import (
    CategoricalSearch,
    GaussianSearch,
    SearchParams,
    search_distribution,
)
from worldmodels.types import ActionSpace

LINE = ActionSpace(1, discrete=False)


def rugged(state, plans):
    return (3 * plans).sin().sum((-1, -2)) - plans.square().sum((-1, -2))


def first_candidates(planner, spy, rng):
    score = spy(rugged)
    plan = planner.plan(score, None, planner.initial(1), rng(0))
    return score.asked[0][0], rugged(None, score.asked[0])[0], plan


def test_cem_refits_to_the_mean_of_its_elites(spy, rng):
    planner = CEM(LINE, 2, candidates=30, iterations=1, elites=5)
    candidates, values, plan = first_candidates(planner, spy, rng)
    order = sorted(range(len(values)), key=lambda i: -values[i].item())
    expected = sum(candidates[i] for i in order[:5]) / 5
    torch.testing.assert_close(plan.params[0], expected)


def test_mppi_weights_candidates_by_their_exponential_return(spy, rng):
    planner = MPPI(LINE, 2, candidates=30, iterations=1, temperature=0.5, kept_elites=0)
    candidates, values, plan = first_candidates(planner, spy, rng)
    weight = [math.exp(value / 0.5) for value in values.tolist()]
    expected = sum(w * plan for w, plan in zip(weight, candidates)) / sum(weight)
    torch.testing.assert_close(plan.params[0], expected)
    assert torch.equal(plan.actions, plan.params)


def test_pddm_is_mppi_with_filtered_noise(spy, rng):
    planner = PDDM(LINE, 2, candidates=30, iterations=1, kappa=2.0, beta=0.25)
    candidates, _, _ = first_candidates(planner, spy, rng)
    noise = white(30, planner.initial(1), rng(0))
    expected = (0.5 * filtered(noise, 0.25)).clamp(-1, 1)
    torch.testing.assert_close(candidates[1:], expected)
    same = MPPI(LINE, 2, candidates=30, temperature=0.5).kappa
    assert same == planner.kappa


def test_icem_draws_fewer_plans_each_iteration_and_keeps_its_elites(spy, rng):
    planner = ICEM(LINE, 2, candidates=100, iterations=4, elites=20, kept_elites=6, shrink=1.5)
    score = spy(rugged)
    planner.plan(score, None, planner.initial(1), rng(0))
    # 100, 67, 44, then not below twice the elites; the warm start, then 6 elites join.
    assert [asked.shape[1] for asked in score.asked] == [101, 73, 50, 46, 7]
    for before, after in zip(score.asked[:3], score.asked[1:]):
        elites = before[0, rugged(None, before)[0].argsort(descending=True)[:6]]
        assert torch.equal(after[0, :6], elites)


def test_icem_never_draws_more_than_it_started_with(spy, rng):
    planner = ICEM(LINE, 2, candidates=30, iterations=2, elites=20, kept_elites=0)
    score = spy(rugged)
    planner.plan(score, None, planner.initial(1), rng(0))
    assert [asked.shape[1] for asked in score.asked] == [31, 30, 1]


def test_gaussian_refit_mixes_in_momentum_and_keeps_the_floor():
    old = SearchParams(torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[1.0, 0.1]]]))
    elites = torch.tensor([[[[0.0, 0.5]], [[0.4, 0.5]]]])
    new = GaussianSearch(2).refit(old, elites, momentum=0.25, min_std=0.3)
    # means 0.2 and 0.5, standard deviations 0.2 and 0
    torch.testing.assert_close(new.params, torch.tensor([[[0.4, 0.625]]]))
    torch.testing.assert_close(new.std, torch.tensor([[[0.4, 0.3]]]))


def test_categorical_refit_counts_mixes_and_spreads():
    old = SearchParams(torch.tensor([[[1.0, 0.0]]]), torch.zeros(1, 1, 2))
    elites = torch.tensor([[[[0.0, 1.0]], [[0.0, 1.0]], [[1.0, 0.0]], [[0.0, 1.0]]]])
    new = CategoricalSearch(2).refit(old, elites, momentum=0.5, min_std=0.25)
    # frequencies (1/4, 3/4), with momentum (5/8, 3/8), a fifth of it spread evenly
    torch.testing.assert_close(new.params, torch.tensor([[[0.6, 0.4]]]))


def test_categorical_samples_follow_their_probabilities(rng):
    search = SearchParams(torch.tensor([[[0.7, 0.2, 0.1], [0.0, 0.0, 1.0]]]), torch.zeros(1, 2, 3))
    noise = white(20000, search.params, rng(0))
    frequency = CategoricalSearch(3).sample(search, noise).mean(1)
    torch.testing.assert_close(frequency, search.params, atol=0.01, rtol=0)
    assert torch.equal(frequency[0, 1], search.params[0, 1])


def test_an_impossible_choice_is_not_drawn_by_extreme_noise():
    search = SearchParams(torch.tensor([[[1.0, 0.0]]]), torch.zeros(1, 1, 2))
    noise = torch.tensor([[[-12.0, 12.0]], [[12.0, 12.0]], [[-12.0, -12.0]]])
    drawn = CategoricalSearch(2).sample(search, noise)
    assert drawn.tolist() == [[[[1.0, 0.0]], [[1.0, 0.0]], [[1.0, 0.0]]]]


def test_persistent_noise_makes_choices_persist(rng):
    like = torch.full((1, 12, 3), 1 / 3)
    search = SearchParams(like, torch.zeros_like(like))
    drawn = CategoricalSearch(3).sample(search, coloured(4000, like, 3.0, rng(0))).argmax(-1)
    same = (drawn[..., 1:] == drawn[..., :-1]).float().mean()
    assert same > 0.7  # 1/3 under white noise


def test_uniform_plans_cover_the_space_evenly(rng):
    noise = white(20000, torch.zeros(1, 1, 2), rng(0))
    numbers = search_distribution(ActionSpace(2, discrete=False)).uniform(noise)
    share = torch.histc(numbers, 10, -1, 1) / numbers.numel()
    torch.testing.assert_close(share, torch.full((10,), 0.1), atol=0.01, rtol=0)
    choices = search_distribution(ActionSpace(2, discrete=True)).uniform(noise)
    torch.testing.assert_close(choices.mean(0), torch.full((1, 2), 0.5), atol=0.02, rtol=0)


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0])
def test_filtered_noise_is_the_recursion_over_its_own_deviation(beta, rng):
    noise = white(3, torch.zeros(1, 6, 2, dtype=torch.float64), rng(0))
    expected, previous, variance = [], torch.zeros(3, 2, dtype=torch.float64), 0.0
    for step in noise.unbind(1):
        previous = beta * step + (1 - beta) * previous
        variance = beta**2 + (1 - beta) ** 2 * variance
        expected.append(previous / variance**0.5)
    torch.testing.assert_close(filtered(noise, beta), torch.stack(expected, 1))


@pytest.mark.parametrize("horizon", [1, 2, 7, 12])
@pytest.mark.parametrize("beta", [0.0, 2.0])
def test_coloured_noise_has_variance_one_at_every_step(horizon, beta, rng):
    noise = coloured(20000, torch.zeros(1, horizon, 2), beta, rng(0))
    variance = noise.square().mean((0, 2))
    torch.testing.assert_close(variance, torch.ones(horizon), atol=0.04, rtol=0)


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
def test_coloured_noise_loses_power_as_frequency_to_the_minus_beta(beta, rng):
    noise = coloured(4000, torch.zeros(1, 64, 1), beta, rng(0))
    power = torch.fft.rfft(noise[..., 0]).abs().square().mean(0)[1:]
    frequency = torch.fft.rfftfreq(64)[1:]
    flat = power * frequency**beta
    torch.testing.assert_close(flat / flat.mean(), torch.ones(32), atol=0.12, rtol=0)
