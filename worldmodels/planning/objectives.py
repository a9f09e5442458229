"""What a plan is scored by: rewards of an imagined trajectory, chosen when planning.

Objectives add up: ``LearnedReward() + 0.1 * GoalImage(goal_feature(model, frame)) - ActionCost()``.
Give one to ``MPC`` or ``WorldModel.score``; nothing is trained again.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from einops import rearrange, repeat
from jaxtyping import Float, UInt8
from torch import Tensor

from worldmodels.dynamics.base import flatten_state, map_state
from worldmodels.types import Configurable, Trajectory
from worldmodels.world_model import LatentModel, WorldModel


class Objective(Configurable, ABC):
    """Rewards of imagined steps. Sums, differences and multiples of objectives are objectives."""

    @abstractmethod
    def __call__(self, model: WorldModel, trajectory: Trajectory) -> Float[Tensor, "N H"]:
        """The reward of every imagined step, on arrival."""

    def __mul__(self, weight: int | float) -> "WeightedSum":
        """``weight`` times this."""
        return WeightedSum([(self, weight)])

    __rmul__ = __mul__

    def __add__(self, other: "Objective") -> "WeightedSum":
        """Both."""
        return WeightedSum([(self, 1.0), (other, 1.0)])

    def __sub__(self, other: "Objective") -> "WeightedSum":
        """This without the other."""
        return WeightedSum([(self, 1.0), (other, -1.0)])

    def __neg__(self) -> "WeightedSum":
        """The opposite."""
        return WeightedSum([(self, -1.0)])

    def __repr__(self) -> str:
        """For messages: the class."""
        return type(self).__name__


class WeightedSum(Objective):
    """A sum of objectives times their weights.

    Args:
        parts: pairs of an objective and its weight.
    """

    def __init__(self, parts: Sequence[tuple[Objective, int | float]]):
        self.parts = parts

    def __call__(self, model: WorldModel, trajectory: Trajectory) -> Float[Tensor, "N H"]:
        """Each part's rewards, weighted and added."""
        rewards = [weight * part(model, trajectory) for part, weight in self.parts]
        return torch.stack(rewards).sum(0)  # N H

    def __repr__(self) -> str:
        """For messages: the sum as one would write it."""
        return " + ".join(f"{weight:g} * ({part})" for part, weight in self.parts)


class LearnedReward(Objective):
    """The world model's own reward head."""

    def __call__(self, model: WorldModel, trajectory: Trajectory) -> Float[Tensor, "N H"]:
        """Its predictions."""
        return trajectory.reward


class FrameObjective(Objective):
    """Any function of the frames that the model predicts.

    Frames are bytes, which carry no gradient: plan with a sampling planner.

    Args:
        function: frames N H C h w (bytes) to rewards N H.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]):
        self.function = function

    def __call__(self, model: WorldModel, trajectory: Trajectory) -> Float[Tensor, "N H"]:
        """Decodes the trajectory and asks the function."""
        return self.function(model.decode(trajectory.feature[:, 1:]))

    def __repr__(self) -> str:
        """For messages: the function's name."""
        return f"FrameObjective({self.function!r})"


class FeatureObjective(Objective):
    """Any function of the latent features.

    Args:
        function: features N H F to rewards N H.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]):
        self.function = function

    def __call__(self, model: WorldModel, trajectory: Trajectory) -> Float[Tensor, "N H"]:
        """The function of the features after each action."""
        return self.function(trajectory.feature[:, 1:])

    def __repr__(self) -> str:
        """For messages: the function's name."""
        return f"FeatureObjective({self.function!r})"


class GoalImage(Objective):
    """Closeness to a goal: minus the squared distance of features, averaged over their entries.

    Args:
        feature: of the goal.
    """

    def __init__(self, feature: Float[Tensor, " F"]):
        self.feature = feature.detach()

    def __call__(self, model: WorldModel, trajectory: Trajectory) -> Float[Tensor, "N H"]:
        """0 at the goal, negative elsewhere."""
        return -(trajectory.feature[:, 1:] - self.feature).square().mean(-1)  # N H


@torch.no_grad()
def goal_feature(
    model: LatentModel, frame: UInt8[Tensor, "C h w"], steps: int = 5
) -> Float[Tensor, " F"]:
    """The feature of standing still in front of ``frame``: a goal for ``GoalImage``.

    The frame is filtered ``steps`` times under the zero action: after one step alone a recurrent
    memory would not have seen it yet.
    """
    action = torch.zeros(1, steps, model.action_space.dim, device=frame.device)  # 1 T A
    is_first = torch.arange(steps, device=frame.device)[None] == 0  # 1 T
    still = repeat(frame, "C h w -> 1 T C h w", T=steps)
    return model.observe(still, action, is_first).feature[0, -1]


class ActionCost(Objective):
    """Minus the squared length of each action."""

    def __call__(self, model: WorldModel, trajectory: Trajectory) -> Float[Tensor, "N H"]:
        """0 for doing nothing."""
        return -trajectory.action.square().sum(-1)  # N H


class Disagreement(Objective):
    """The ensemble's disagreement about each step: add it to explore, subtract it to stay safe.

    Reference: Sekar et al., 2020 (Plan2Explore); Yu et al., 2020 (MOPO), for the penalty.
    """

    def __call__(self, model: WorldModel, trajectory: Trajectory) -> Float[Tensor, "N H"]:
        """Variance over members (see ``Ensemble.disagreement``)."""
        # The states in which the actions were taken: the start, then all but the last.
        left = map_state(
            lambda first, later: torch.cat([first[:, None], later[:, :-1]], 1),
            trajectory.start,
            trajectory.states,
        )
        actions = rearrange(trajectory.action, "N H A -> (N H) A")
        variance = model.dynamics.disagreement(flatten_state(left), actions)  # (N H)
        return rearrange(variance, "(N H) -> N H", H=trajectory.action.shape[1])


class Curiosity(WeightedSum):
    """Disagreement as a reward, beside as much of the learned reward as is wanted.

    Args:
        bonus: weight of the ensemble's disagreement, which is some thousandths a step.
        reward: weight of the learned reward; with 0 exploration knows no task.

    Reference: Sekar et al., 2020 (Plan2Explore).
    """

    def __init__(self, bonus: float = 300.0, reward: float = 0.0):
        super().__init__([(Disagreement(), bonus), (LearnedReward(), reward)])


class Aggregation(Configurable, ABC):
    """Joins the returns of the particles of each plan."""

    @abstractmethod
    def __call__(self, returns: Float[Tensor, "B N P"]) -> Float[Tensor, "B N"]:
        """One number for each plan, higher is better."""


class Mean(Aggregation):
    """The expected return."""

    def __call__(self, returns: Float[Tensor, "B N P"]) -> Float[Tensor, "B N"]:
        """The mean over particles."""
        return returns.mean(-1)


class Minimum(Aggregation):
    """The return in the opinion of the most pessimistic particle."""

    def __call__(self, returns: Float[Tensor, "B N P"]) -> Float[Tensor, "B N"]:
        """The lowest over particles."""
        return returns.amin(-1)


class MeanAndStd(Aggregation):
    """The mean plus ``weight`` times the particles' standard deviation.

    Args:
        weight: below 0 a penalty for disagreement, above 0 a bonus.
    """

    def __init__(self, weight: float = -1.0):
        self.weight = weight

    def __call__(self, returns: Float[Tensor, "B N P"]) -> Float[Tensor, "B N"]:
        """Mean and standard deviation (of the particles as a population)."""
        # The gradient of a standard deviation is infinite at 0: lift the variance a little.
        std = (returns.var(-1, correction=0) + 1e-12).sqrt()
        return returns.mean(-1) + self.weight * std
