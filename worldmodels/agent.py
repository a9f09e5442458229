"""From a frame to an action: filter the latent, then plan in it or ask the policy."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from worldmodels.behaviours.base import Behaviour
from worldmodels.behaviours.guidance import guided_score, proposals
from worldmodels.nn.precision import planning_precision
from worldmodels.planning.mpc import MPC, PlanState
from worldmodels.planning.objectives import Aggregation, Objective
from worldmodels.rollout import PlanScore
from worldmodels.types import ActionSpace, State
from worldmodels.world_model import WorldModel


class AgentState(NamedTuple):
    """All that an agent remembers between two frames.

    ``latent`` and ``action`` (B A) are the filtered state and the action taken in it; ``seed`` and
    ``step`` determine the noise of the next decision.
    """

    latent: State
    action: Float[Tensor, "B A"]
    plan: PlanState
    seed: int
    step: int


class Parts(NamedTuple):
    """What an agent decides with; there may be no ``behaviour``."""

    world_model: WorldModel
    controller: MPC
    behaviour: Behaviour | None

    def learned(self) -> Behaviour:
        """The behaviour.

        Raises:
            ValueError: when there is none.
        """
        if self.behaviour is None:
            raise ValueError("this way of acting needs a behaviour: give --behaviour ActorCritic")
        return self.behaviour


class Acting(ABC):
    """How a latent state becomes an action.

    Attributes:
        name: recorded with the episodes.
    """

    name: str

    def check(self, parts: Parts) -> None:
        """Refuses parts that this way of acting cannot use; all are fine here."""
        return

    @abstractmethod
    def step(
        self,
        parts: Parts,
        latent: State,
        plan: PlanState,
        is_first: Bool[Tensor, " B"],
        explore: bool,
    ) -> tuple[Float[Tensor, "B A"], PlanState]:
        """The next action of every environment, and the plans in force."""


class ByPlanner(Acting):
    """Executes plans; a learned behaviour is not asked.

    Args:
        objective: what plans are scored by; the learned reward when None.
        aggregation: how the returns of a plan's particles are joined; the mean when None.
    """

    name = "planner"

    def __init__(self, objective: Objective | None = None, aggregation: Aggregation | None = None):
        self.objective, self.aggregation = objective, aggregation

    def step(
        self,
        parts: Parts,
        latent: State,
        plan: PlanState,
        is_first: Bool[Tensor, " B"],
        explore: bool,
    ) -> tuple[Float[Tensor, "B A"], PlanState]:
        """A step of model predictive control."""
        model, judge = parts.world_model, (None, self.objective, self.aggregation)
        score = PlanScore(
            lambda plans: model.score(latent, plans, *judge), model.dynamics.particles
        )
        return parts.controller.step(rounded_score(model, score), plan, is_first)


def rounded_score(world_model: WorldModel, score: PlanScore) -> PlanScore:
    """``score`` in the number format that is fastest for as many rollouts as it is asked for."""

    def rounded(plans: Float[Tensor, "B N H A"]) -> Float[Tensor, "B N"]:
        rollouts = plans.shape[0] * plans.shape[1] * score.rollouts
        width = world_model.dynamics.feature_dim
        with planning_precision(plans.device, rollouts, width):
            return score(plans)

    return PlanScore(rounded, score.rollouts)


class ByPolicy(Acting):
    """Asks the policy: its mode, or a sample while exploring."""

    name = "policy"

    def check(self, parts: Parts) -> None:
        """Refuses to act without a policy."""
        parts.learned()

    def step(
        self,
        parts: Parts,
        latent: State,
        plan: PlanState,
        is_first: Bool[Tensor, " B"],
        explore: bool,
    ) -> tuple[Float[Tensor, "B A"], PlanState]:
        """One evaluation of the policy; the plan stays as it is."""
        policy = parts.learned().policy(parts.world_model.feature(latent))
        return policy.sample() if explore else policy.mode(), plan


class ByGuidedPlanner(Acting):
    """Plans with the behaviour's value at the horizon and its policy among the candidates.

    Args:
        proposals: imagined rollouts of the policy that join the candidates of a decision.
        objective: what plans are scored by; the learned reward when None.
        aggregation: how the returns of a plan's particles are joined; the mean when None.

    Raises:
        ValueError: when ``proposals`` is negative.

    Reference: Lowrey et al., 2019 (POLO), for the value; Hansen et al., 2022 (TD-MPC), for both.
    """

    name = "guided planner"

    def __init__(
        self,
        proposals: int = 16,
        objective: Objective | None = None,
        aggregation: Aggregation | None = None,
    ):
        if proposals < 0:
            raise ValueError(f"proposals={proposals}: choose 0 or more")
        self.proposals, self.objective, self.aggregation = proposals, objective, aggregation

    def check(self, parts: Parts) -> None:
        """Refuses to act without a value."""
        parts.learned()

    def step(
        self,
        parts: Parts,
        latent: State,
        plan: PlanState,
        is_first: Bool[Tensor, " B"],
        explore: bool,
    ) -> tuple[Float[Tensor, "B A"], PlanState]:
        """A step of model predictive control with help."""
        model, behaviour = parts.world_model, parts.learned()
        guided = guided_score(model, behaviour, latent, self.objective, self.aggregation)
        score = rounded_score(model, guided)
        if not self.proposals:
            return parts.controller.step(score, plan, is_first)
        horizon = parts.controller.planner.horizon
        extra = proposals(model, behaviour, latent, horizon, self.proposals)
        return parts.controller.step(score, plan, is_first, proposals=extra)


class Agent(nn.Module):
    """Acts on frames inside a world model: by planning, by a learned policy, or by both.

    Args:
        world_model: the latent simulator.
        controller: plans and replans over ``world_model.score``.
        noise: exploration: standard deviation added to continuous actions, or the probability of
            a random choice for discrete ones.
        behaviour: a policy and a value over the model's features.
        acting: who decides; when None, the behaviour's policy where there is one, else the planner.

    Raises:
        ValueError: when ``noise`` is negative, or ``acting`` needs a behaviour and there is none.
    """

    def __init__(
        self,
        world_model: WorldModel,
        controller: MPC,
        noise: float = 0.3,
        behaviour: Behaviour | None = None,
        acting: Acting | None = None,
    ):
        super().__init__()
        if noise < 0:
            raise ValueError(f"noise={noise}: exploration noise is 0 or more")
        self.world_model, self.behaviour = world_model, behaviour
        self.controller = controller
        self.noise = noise
        default = ByPlanner() if behaviour is None else ByPolicy()
        self.acting = default if acting is None else acting
        self.acting.check(self._parts)

    def initial(self, batch: int, seed: int) -> AgentState:
        """The state before the first frame, for ``batch`` environments."""
        action = torch.zeros(batch, self.world_model.action_space.dim, device=self._device)
        plan = self.controller.initial(batch)
        plan = type(plan)(*(field.to(self._device) for field in plan))
        return AgentState(self.world_model.dynamics.initial(batch), action, plan, seed, 0)

    @torch.no_grad()
    def act(
        self,
        obs: UInt8[Tensor, "B C h w"],
        is_first: Bool[Tensor, " B"],
        state: AgentState,
        explore: bool = False,
    ) -> tuple[Float[Tensor, "B A"], AgentState]:
        """One action per environment; the same state and frames give the same actions.

        Noise depends on ``state`` alone, and torch's own generators are left as they were, so
        acting does not disturb training.
        """
        obs, is_first = obs.to(self._device), is_first.to(self._device)
        with _noise_of(state, self._device):
            latent = self.world_model.filter(obs, state.action, is_first, state.latent)
            action, plan = self.acting.step(self._parts, latent, state.plan, is_first, explore)
            if explore:
                action = explored(action, self.world_model.action_space, self.noise)
        return action, AgentState(latent, action, plan, state.seed, state.step + 1)

    @property
    def _parts(self) -> Parts:
        return Parts(self.world_model, self.controller, self.behaviour)

    @property
    def _device(self) -> torch.device:
        return next(self.world_model.parameters()).device


def explored(
    action: Float[Tensor, "B A"], space: ActionSpace, noise: float
) -> Float[Tensor, "B A"]:
    """The action with exploration noise, still inside the action space."""
    if not space.discrete:
        return (action + noise * torch.randn_like(action)).clamp(-1, 1)
    choices = torch.randint(space.dim, action.shape[:1], device=action.device)
    random = nn.functional.one_hot(choices, space.dim).to(action.dtype)
    replace = torch.rand(len(action), 1, device=action.device) < noise
    return torch.where(replace, random, action)


@contextmanager
def _noise_of(state: AgentState, device: torch.device) -> Iterator[None]:
    """Seeds torch from (seed, step) inside the block and restores it after."""
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"):
        # Odd multiplier: different seeds give different, far apart streams.
        torch.manual_seed((state.seed * 0x9E3779B97F4A7C15 + state.step) % 2**63)
        yield
