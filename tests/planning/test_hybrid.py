from collections.abc import Callable
from functools import partial

import torch
from jsonargparse import ArgumentParser

from worldmodels.planning import CEM, Hybrid, Planner
from worldmodels.types import ActionSpace

PLANE = ActionSpace(2, discrete=False)


def sharp(state, plans):
    """A narrow ridge whose top, 0, is at (0.3, -0.6) at every step."""
    across = (plans[..., 0] + 0.5 * plans[..., 1]).square()
    along = (plans[..., 0] - 0.3).square()
    return -(30 * across + along).sum(-1)


def test_the_gradient_refines_what_sampling_found(rng):
    sampler = partial(CEM, candidates=60, iterations=3, elites=10, kept_elites=4)
    sampled = sampler(PLANE, 5).plan(sharp, None, torch.zeros(1, 5, 2), rng(0))
    hybrid = Hybrid(PLANE, 5, sampler=sampler, steps=60)
    refined = hybrid.plan(sharp, None, torch.zeros(1, 5, 2), rng(0))
    assert refined.value > 0.1 * sampled.value
    # the mean and 4 elites: two evaluations a step, their ends and their best once more
    assert refined.evaluations == sampled.evaluations + 5 * 2 * 60 + 5 * 2
    assert torch.equal(refined.elites, sampled.elites)


def choose(planner: Callable[[ActionSpace], Planner]):
    return planner


def test_another_sampler_in_a_config_has_its_own_defaults():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_function_arguments(choose)
    config = {
        "class_path": "worldmodels.planning.Hybrid",
        "init_args": {"sampler": "worldmodels.planning.CEM"},
    }
    planner = parser.instantiate(parser.parse_object({"planner": config})).planner(PLANE)
    assert type(planner.sampler) is CEM
    assert (planner.sampler.candidates, planner.sampler.std, planner.kept_elites) == (1000, 1.0, 1)
