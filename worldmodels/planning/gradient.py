"""Planning by gradient ascent through the score."""

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodels.checks import check_above, check_at_least
from worldmodels.planning.base import Plan, Planner, best
from worldmodels.planning.noise import white
from worldmodels.types import ActionSpace, ScoreFn, State


class Gradient(Planner):
    """Climbs the predicted return with Adam from several starts.

    Real-valued actions are clipped to the bounds after every step. Choices climb on logits: the
    score sees the one-hot of the best choice, the gradient passes through the softmax. The first
    start is the warm start, then come the proposals, then plans drawn around the warm start. The
    best plan met on the way of every start is scored again at the end beside the last one.

    Args:
        action_space: what an action is.
        horizon: H, length of a plan in agent steps.
        starts: plans to start from, the warm start among them; proposals come on top.
        steps: gradient steps per decision.
        learning_rate: Adam's, in units of action (or logit) per step.
        clip_norm: each plan's gradient is scaled down to at most this norm.
        std: standard deviation of the starts (see ``SearchDistribution`` for discrete actions).

    Raises:
        ValueError: when a number does not fit.

    Reference: Kingma and Ba, 2015 (Adam), algorithm 1; Jang, Gu and Poole, 2017, section 2.2
    (straight-through).
    """

    def __init__(
        self,
        action_space: ActionSpace,
        horizon: int = 12,
        starts: int = 16,
        steps: int = 40,
        learning_rate: float = 0.1,
        clip_norm: float = 1.0,
        std: float = 0.5,
    ):
        super().__init__(action_space, horizon)
        check_at_least(self._name, 1, starts=starts, steps=steps)
        check_above(self._name, 0, learning_rate=learning_rate, clip_norm=clip_norm, std=std)
        self.starts, self.steps = starts, steps
        self.learning_rate, self.clip_norm, self.std = learning_rate, clip_norm, std

    @torch.no_grad()
    def plan(
        self,
        score: ScoreFn,
        state: State,
        init: Float[Tensor, "B H A"],
        generator: torch.Generator | None = None,
        proposals: Float[Tensor, "B P H A"] | None = None,
    ) -> Plan:
        """Climbs from ``init``, the proposals and random starts.

        Raises:
            ValueError: also when the score is no differentiable function of the actions.
        """
        scorer = self._scorer(score)
        around = self.distribution.around(init, self.std)
        drawn = self.distribution.sample(around, white(self.starts - 1, init, generator))
        variables = torch.cat([self._starts(init, proposals), drawn], 1)  # B N H A
        adam = Adam(variables, self.learning_rate)
        top = torch.full_like(variables[..., 0, 0], -torch.inf)  # B N
        reached = variables
        for _ in range(self.steps):
            values, gradient = scorer.gradient(state, variables, self.distribution.relax)
            better = values > top  # B N
            top = torch.where(better, values, top)
            reached = torch.where(better[..., None, None], variables, reached)
            uphill = adam.step(_clipped(gradient, self.clip_norm))
            variables = self.distribution.project(variables + uphill)
        finalists = self.distribution.mode(torch.cat([variables, reached], 1))
        values = scorer(state, finalists)  # B 2N
        plan = best(finalists, values, 1)[:, 0]  # B H A
        return Plan(plan, plan, values.amax(1), scorer.evaluations, finalists[:, :0])


class Adam:
    """Adam's steps for one ``plan`` call.

    Written out because torch's own needs seconds for its first step, which would be the first
    decision of an agent.

    Reference: Kingma and Ba, 2015, algorithm 1.
    """

    def __init__(self, like: Float[Tensor, "B N H A"], learning_rate: float):
        self.mean, self.square = torch.zeros_like(like), torch.zeros_like(like)
        self.learning_rate, self.steps = learning_rate, 0

    def step(self, gradient: Float[Tensor, "B N H A"]) -> Float[Tensor, "B N H A"]:
        """The step uphill."""
        self.steps += 1
        self.mean.lerp_(gradient, 1 - 0.9)
        self.square.lerp_(gradient.square(), 1 - 0.999)
        mean = self.mean / (1 - 0.9**self.steps)
        square = self.square / (1 - 0.999**self.steps)
        return self.learning_rate * mean / (square.sqrt() + 1e-8)


def _clipped(gradient: Float[Tensor, "B N H A"], norm: float) -> Float[Tensor, "B N H A"]:
    """Scales each plan's own gradient, so that plans do not influence each other."""
    length = torch.linalg.vector_norm(gradient, dim=(-2, -1), keepdim=True)  # B N 1 1
    return gradient * (norm / length.clamp(min=norm))
