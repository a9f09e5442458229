from itertools import product

import torch

from worldmodels.planning import CEM
from worldmodels.types import ActionSpace

LINE = ActionSpace(1, discrete=False)


def two_hills(state, plans):
    """Per action: a broad hill of height 0.6 around -0.5 and a narrow one of height 1 at 0.6."""
    broad = 0.6 * torch.exp(-((plans + 0.5) / 0.4).square())
    narrow = torch.exp(-((plans - 0.6) / 0.2).square())
    return (broad + narrow).sum((-1, -2))


def tree(leaves, plans):
    """The value of the leaf that three choices lead to, multilinear so that it has a gradient."""
    first, second, third = plans.unbind(-2)
    return torch.einsum("bijk,bni,bnj,bnk->bn", leaves, first, second, third)


def hashed(state, plans):
    """A rugged, smooth score without symmetry."""
    weight = torch.arange(1.0, 1 + plans[0, 0].numel()).reshape(plans.shape[2:])
    return (plans * weight.sin()).sum((-1, -2)) - (plans * weight.cos()).square().sum((-1, -2))


def signed(sign, plans):
    """The state turns it around."""
    return sign * hashed(None, plans)


SIGNS = torch.tensor([[1.0], [-1.0]])


def fields(plan):
    return [field for field in plan if isinstance(field, torch.Tensor)]


def test_finds_the_optimum_of_a_quadratic_in_every_environment(make, quadratic, rng):
    target = torch.tensor([[[0.4], [-0.2]], [[-0.7], [0.55]]])
    planner = make(LINE, 2)
    plan = planner.plan(quadratic, target, planner.initial(2), rng(0))
    torch.testing.assert_close(plan.actions, target, atol=0.06, rtol=0)
    torch.testing.assert_close(
        plan.value, -(plan.actions - target).square().sum((-1, -2)), atol=1e-6, rtol=0
    )


def test_finds_the_higher_of_two_hills(make, rng):
    planner = make(LINE, 2)
    plan = planner.plan(two_hills, None, planner.initial(1), rng(0))
    torch.testing.assert_close(plan.actions, torch.full((1, 2, 1), 0.6), atol=0.08, rtol=0)


def test_finds_the_best_leaf_of_a_tree(make, rng):
    leaves = torch.rand(2, 3, 3, 3, generator=rng(5))
    planner = make(ActionSpace(3, discrete=True), 3)
    plan = planner.plan(tree, leaves, planner.initial(2), rng(0))
    for row in range(2):
        best = max(product(range(3), repeat=3), key=lambda path: leaves[row][path].item())
        assert plan.actions[row].argmax(-1).tolist() == list(best)
        assert plan.value[row] == leaves[row][best]


def test_a_choice_without_merit_keeps_its_place_in_the_space(make, rng):
    planner = make(ActionSpace(1, discrete=True), 2)
    plan = planner.plan(hashed, None, planner.initial(1), rng(0))
    assert plan.actions.tolist() == [[[1.0], [1.0]]]


def test_candidates_and_plan_stay_in_the_action_space(make, space, spy, rng):
    def outward(state, plans):
        return (plans * torch.arange(1.0, 1 + space.dim)).sum((-1, -2))

    planner = make(space, 3)
    score = spy(outward)
    far = 5 * torch.randn(1, 2, 3, space.dim, generator=rng(1))
    plan = planner.plan(score, None, planner.initial(1), rng(0), far)
    everything = torch.cat([*(asked[0] for asked in score.asked), plan.actions])
    if space.discrete:
        assert ((everything == 0) | (everything == 1)).all()
        assert (everything.sum(-1) == 1).all()
        assert plan.actions.argmax(-1).tolist() == [[2, 2, 2]]
    else:
        assert everything.abs().max() <= 1
        assert outward(None, plan.actions) > 0.6 * outward(None, torch.ones(3, 2))


def test_a_batch_of_two_equals_two_single_calls(make, space, rng):
    planner = make(space, 3)
    init = torch.rand(2, 3, space.dim, generator=rng(1)).softmax(-1)
    both = planner.plan(signed, SIGNS, init, rng(0))
    one, other = (planner.plan(signed, SIGNS[[i]], init[[i]], rng(0)) for i in range(2))
    assert both.evaluations == one.evaluations == other.evaluations
    for field, first, second in zip(fields(both), fields(one), fields(other)):
        torch.testing.assert_close(field, torch.cat([first, second]), atol=1e-5, rtol=1e-5)


def test_the_same_seed_gives_the_same_plan_and_another_seed_another(make, rng):
    planner = make(ActionSpace(2, discrete=False), 4)
    before = torch.get_rng_state()
    first = planner.plan(two_hills, None, planner.initial(1), rng(0))
    again = planner.plan(two_hills, None, planner.initial(1), rng(0))
    other = planner.plan(two_hills, None, planner.initial(1), rng(1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(fields(first), fields(again)))
    assert not torch.equal(first.actions, other.actions)


def test_without_a_generator_torchs_own_seed_decides(make):
    planner = make(ActionSpace(2, discrete=False), 3)
    plans = []
    for _ in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            plans.append(planner.plan(hashed, None, planner.initial(1)).actions)
    assert torch.equal(*plans)


def test_the_counter_counts_what_the_score_was_asked(make, space, spy, rng):
    planner = make(space, 3)
    score = spy(hashed)
    proposals = torch.zeros(1, 2, 3, space.dim)
    plan = planner.plan(score, None, planner.initial(1), rng(0), proposals)
    assert plan.evaluations == score.evaluations


def test_a_warm_start_helps(make_keeper, quadratic, rng):
    target = torch.rand(1, 8, 4, generator=rng(2)) - 0.5
    planner = make_keeper(ActionSpace(4, discrete=False), 8)
    for part in (planner, getattr(planner, "sampler", planner)):
        for name, little in {"candidates": 40, "elites": 6, "iterations": 2, "steps": 2}.items():
            if hasattr(part, name):
                setattr(part, name, little)
    cold = planner.plan(quadratic, target, planner.initial(1), rng(0))
    warm = planner.plan(quadratic, target, target + 0.02, rng(0))
    assert 0 <= -warm.value < 0.5 * -cold.value


def test_a_proposal_that_is_best_is_found(make_keeper, rng):
    """A needle that no search would meet."""
    needle = torch.tensor([[[[0.123, -0.456], [0.789, 0.321], [-0.654, 0.987]]]])

    def score(state, plans):
        distance = (plans - needle).square().sum((-1, -2))
        return -distance + 100 * torch.exp(-1000 * distance)

    planner = make_keeper(ActionSpace(2, discrete=False), 3)
    plan = planner.plan(score, None, planner.initial(1), rng(0), needle)
    torch.testing.assert_close(plan.actions, needle[:, 0], atol=0.02, rtol=0)


def test_the_kept_elites_are_the_best_seen_last(spy, rng):
    planner = CEM(LINE, 2, candidates=50, iterations=1, elites=10, kept_elites=4)
    score = spy(hashed)
    plan = planner.plan(score, None, planner.initial(1), rng(0))
    seen = score.asked[0][0]
    ranked = sorted(seen, key=lambda candidate: -hashed(None, candidate[None, None]).item())
    assert torch.equal(plan.elites[0], torch.stack(ranked[:4]))


def test_works_in_double_precision(make, quadratic, rng):
    target = torch.tensor([[[0.4], [-0.2]]], dtype=torch.float64)
    planner = make(LINE, 2)
    plan = planner.plan(quadratic, target, planner.initial(1).double(), rng(0))
    assert {field.dtype for field in fields(plan)} == {torch.float64}
