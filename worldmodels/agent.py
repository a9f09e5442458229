"""From a frame to an action: filter the latent, plan in it, act."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from worldmodels.planning.mpc import MPC, PlanState
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


class Agent(nn.Module):
    """Acts on frames by planning inside a world model.

    Args:
        world_model: the latent simulator.
        controller: plans and replans over ``world_model.score``.
        noise: exploration: standard deviation added to continuous actions, or the probability of
            a random choice for discrete ones.
    """

    def __init__(self, world_model: WorldModel, controller: MPC, noise: float = 0.3):
        super().__init__()
        if noise < 0:
            raise ValueError(f"noise={noise}: exploration noise is 0 or more")
        self.world_model = world_model
        self.controller = controller
        self.noise = noise

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

            def score(actions: Tensor) -> Tensor:
                return self.world_model.score(latent, actions)

            action, plan = self.controller.step(score, state.plan, is_first)
            if explore:
                action = explored(action, self.world_model.action_space, self.noise)
        return action, AgentState(latent, action, plan, state.seed, state.step + 1)

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
