"""From a frame to an action: filter the latent state, then let an actor decide in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from worldmodels.behaviours.base import Behaviour
from worldmodels.checks import check_at_least
from worldmodels.planning.actor import Actor
from worldmodels.planning.mpc import MPC
from worldmodels.types import ActionSpace, State
from worldmodels.world_model import LatentModel, WorldModel


class AgentState(NamedTuple):
    """All that an agent remembers between two frames.

    ``latent`` and ``action`` (B A) are the filtered state and the action taken in it; ``actor`` is
    what the actor remembers (a planner's plans; nothing for a policy); ``seed`` and ``step``
    determine the noise of the next decision.
    """

    latent: State
    action: Float[Tensor, "B A"]
    actor: Any
    seed: int
    step: int


class Agent(nn.Module):
    """Acts on frames inside a world model: by a learned policy, by planning, or by both.

    Args:
        world_model: the latent model.
        actor: a ``Behaviour`` (its policy acts), or ``MPC`` with a planner, and with a behaviour
            as its guide where both are wanted.
        noise: exploration: standard deviation added to continuous actions, or the probability of
            a random choice for discrete ones.

    Attributes:
        behaviour: the behaviour that acts or guides; None where there is none.

    Raises:
        ValueError: when ``noise`` is negative, or a planner is to plan without a world model.

    Example::

        agent = wm.Agent(model, wm.ActorCritic(model.feature_dim, env.action_space))
        agent = wm.Agent(model, wm.MPC(wm.CEM(env.action_space)))
    """

    actor: Actor
    behaviour: Behaviour | None

    def __init__(self, world_model: LatentModel, actor: Actor, noise: float = 0.3):
        super().__init__()
        check_at_least("Agent", 0, noise=noise)
        if isinstance(actor, MPC) and not isinstance(world_model, WorldModel):
            raise ValueError(
                f"{type(world_model).__name__} predicts nothing, so nothing can plan in it: give a "
                "WorldModel, or a behaviour whose policy acts"
            )
        guide = actor.guide if isinstance(actor, MPC) else actor
        self.world_model, self.noise = world_model, noise
        self.behaviour = guide if isinstance(guide, Behaviour) else None
        # Not registered twice: a behaviour's weights belong to `behaviour`.
        self.__dict__["actor"] = actor

    def initial(self, batch: int, seed: int) -> AgentState:
        """The state before the first frame, for ``batch`` environments."""
        action = torch.zeros(batch, self.world_model.action_space.dim, device=self._device)
        state = self.actor.initial(batch)
        if state:
            state = type(state)(*(field.to(self._device) for field in state))
        return AgentState(self.world_model.dynamics.initial(batch), action, state, seed, 0)

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
            action, after = self.actor.act(self.world_model, latent, state.actor, is_first, explore)
            if explore:
                action = explored(action, self.world_model.action_space, self.noise)
        return action, AgentState(latent, action, after, state.seed, state.step + 1)

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
