from functools import partial

import pytest
import torch

from worldmodels.planning import CEM, ICEM, MPPI, PDDM, Gradient, Hybrid, RandomShooting
from worldmodels.types import ActionSpace

SMALL_ICEM = partial(ICEM, candidates=200, iterations=8, elites=20, kept_elites=6)

PLANNERS = {
    "RandomShooting": partial(RandomShooting, candidates=4000),
    "CEM": partial(CEM, candidates=300, iterations=8, elites=30),
    "CEM of PlaNet": partial(CEM, candidates=300, iterations=8, elites=30, kept_elites=0),
    "CEM with momentum": partial(CEM, candidates=300, iterations=10, elites=30, momentum=0.2),
    "ICEM": SMALL_ICEM,
    "MPPI of Williams": partial(
        MPPI, candidates=500, iterations=10, temperature=0.02, kept_elites=0
    ),
    "MPPI": partial(MPPI, candidates=500, iterations=10, temperature=0.02),
    "PDDM": partial(PDDM, candidates=500, iterations=10, kappa=50.0),
    "Gradient": partial(Gradient, starts=32, steps=60),
    "Hybrid": partial(Hybrid, sampler=SMALL_ICEM),
}

# The papers' versions that execute the mean alone: a plan from outside is one voice among many.
AVERAGES = ("CEM of PlaNet", "MPPI of Williams")

REAL = ActionSpace(2, discrete=False)
CHOICE = ActionSpace(3, discrete=True)


@pytest.fixture(params=PLANNERS)
def make(request):
    """Builds each planner in turn, small enough for a test."""
    return PLANNERS[request.param]


@pytest.fixture(params=[name for name in PLANNERS if name not in AVERAGES])
def make_keeper(request):
    """Each planner in turn that never loses the best plan it met."""
    return PLANNERS[request.param]


@pytest.fixture(params=[REAL, CHOICE], ids=["real", "choice"])
def space(request):
    return request.param


class Spy:
    """A score that remembers what it was asked, and whether a gradient was wanted."""

    def __init__(self, score):
        self.score, self.asked, self.with_gradient = score, [], []

    def __call__(self, state, candidates):
        self.asked.append(candidates.detach().clone())
        self.with_gradient.append(candidates.requires_grad)
        return self.score(state, candidates)

    @property
    def evaluations(self):
        pairs = zip(self.asked, self.with_gradient)
        return sum(asked.shape[1] * (1 + wanted) for asked, wanted in pairs)


@pytest.fixture
def spy():
    return Spy


@pytest.fixture
def quadratic():
    """A score with its optimum, 0, where the state ``[B, H, A]`` is."""
    return lambda state, plans: -(plans - state[:, None]).square().sum((-1, -2))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def rng():
    return seeded
