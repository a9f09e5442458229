"""An ensemble of transitions that share one latent language.

Every member has a memory and a prior of its own; posterior, encoder and all heads are shared. A
state names the member that predicted it, so that a trajectory knows whose opinion it follows.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.func import functional_call, vmap

from worldmodels.dynamics.base import Dynamics, repeat_state
from worldmodels.dynamics.latents import CategoricalLatent, GaussianLatent, Latent
from worldmodels.dynamics.members import Propagation, TSinf, group_rows
from worldmodels.dynamics.rssm import RSSM

# The layers of an RSSM that predict; the others correct by frames and are shared.
_TRANSITION = ("stoch_in", "action_in", "input_norm", "cell", "prior_net")


class EnsembleState(NamedTuple):
    """An RSSM's state and the member that predicted it."""

    deter: Float[Tensor, "*batch D"]
    stoch: Float[Tensor, "*batch S"]
    params: Float[Tensor, "*batch P"]
    member: Int[Tensor, "*batch"]


class Ensemble(RSSM):
    """An RSSM with M transitions; use a subclass that names the latent.

    The layers of the transition keep their names, their weights have a leading member axis. In
    training, the member of every row is drawn anew at every step. So each learns from its own
    share of the data, and from memories that any of them wrote: what one writes all can read, and
    they differ in predictions rather than in language.

    Args:
        embed_dim: E.
        action_dim: A.
        latent: the stochastic latent.
        deter: size of the memory.
        hidden: width of the hidden layers.
        members: M.
        particles: imagined trajectories per plan, a multiple of ``members`` (M when None).
        propagation: ``TSinf`` or ``TS1``.

    Raises:
        ValueError: when ``members`` or ``particles`` does not fit.
    """

    def __init__(
        self,
        embed_dim: int,
        action_dim: int,
        latent: Latent,
        deter: int,
        hidden: int,
        members: int,
        particles: int | None,
        propagation: Callable[[], Propagation],
    ):
        if members < 1:
            raise ValueError(f"members={members}: choose 1 or more")
        super().__init__(embed_dim, action_dim, latent, deter, hidden)
        self.members, self.propagation = members, propagation()
        self.particles = _checked_particles(particles, members)
        others = [RSSM(embed_dim, action_dim, latent, deter, hidden) for _ in range(members - 1)]
        self.stack_members([self, *others])

    def stack_members(self, models: Sequence[RSSM]) -> None:
        """Takes the transition of each of ``models`` as a member, in this order."""
        for layer in _TRANSITION:
            for name, _ in list(models[0].get_submodule(layer).named_parameters(layer)):
                stacked = torch.stack([model.get_parameter(name).detach() for model in models])
                owner, leaf = name.rsplit(".", 1)
                self.get_submodule(owner).register_parameter(leaf, nn.Parameter(stacked))

    def keep_members(self, members: int, particles: int | None = None) -> None:
        """Forgets all but the first members, to see what the others were good for.

        Args:
            members: how many stay.
            particles: per plan from now on, a multiple of ``members`` (as many when None).

        Raises:
            ValueError: when there are not so many members, or ``particles`` does not fit.
        """
        if not 1 <= members <= self.members:
            raise ValueError(f"members={members}: choose 1 to {self.members}, as many as there are")
        self.particles = _checked_particles(particles, members)
        self.members = members
        for layer in _TRANSITION:
            for parameter in self.get_submodule(layer).parameters():
                parameter.data = parameter.data[:members].clone()

    def initial(self, batch: int) -> EnsembleState:
        """Zero memory, zero sample, members in turn."""
        state = super().initial(batch)
        return EnsembleState(*state, self._in_turn(batch))

    def plan_starts(self, state: EnsembleState, plans: int) -> EnsembleState:
        """Start states of ``plans`` plans per row; members share a plan's particles evenly."""
        starts = repeat_state(state, plans * self.particles)  # (B N P) ...
        in_turn = self._in_turn(self.particles)
        return starts._replace(member=repeat(in_turn, "P -> (N P)", N=len(state.member) * plans))

    def prior(self, state: EnsembleState, action: Float[Tensor, "B A"]) -> EnsembleState:
        """One step by the member that is next."""
        member = self.propagation.next_member(state.member, self.members)  # B
        noise = self.latent.noise(tuple(member.shape), state.stoch)
        return self._predicted(state, action, member, noise)

    def posterior(self, prior: EnsembleState, embed: Float[Tensor, "B E"]) -> EnsembleState:
        """The same memory with a latent that has seen the frame."""
        return EnsembleState(*super().posterior(prior, embed), prior.member)

    def disagreement(
        self, state: EnsembleState, action: Float[Tensor, "B A"]
    ) -> Float[Tensor, " B"]:
        """Variance over members of the mean feature one step ahead, averaged over its entries.

        Memories count too, since members write and read them in one language.

        Reference: Sekar et al., 2020 (Plan2Explore), section 3.
        """
        inputs = (
            repeat(values, "B X -> M B X", M=self.members)
            for values in (state.deter, state.stoch, action)
        )
        deter, params = self._each(*inputs)  # M B D, M B P
        feature = torch.cat([deter, self.latent.mean(params)], -1)  # M B F
        return feature.var(0, correction=0).mean(-1)  # B

    def step(
        self, state: EnsembleState, action: Float[Tensor, "B A"], is_first: Bool[Tensor, " B"]
    ) -> EnsembleState:
        """``prior`` with the reset rule; in training by a member drawn for this step."""
        if self.training:
            drawn = torch.randperm(len(action), device=action.device) % self.members
            state = state._replace(member=drawn)
        return super().step(state, action, is_first)

    def observe(
        self,
        embed: Float[Tensor, "B T E"],
        action: Float[Tensor, "B T A"],
        is_first: Bool[Tensor, "B T"],
        state: EnsembleState | None = None,
    ) -> tuple[EnsembleState, EnsembleState]:
        """The base loop: who predicts a step must be known before it."""
        with torch.autocast(embed.device.type, enabled=False):
            return Dynamics.observe(self, embed.float(), action, is_first, state)

    def predict_steps(
        self, state: EnsembleState, actions: Float[Tensor, "N H A"], plans: int = 1
    ) -> Iterator[EnsembleState]:
        """The base loop, with members and noise drawn for one plan of each start."""
        for action in actions.unbind(1):
            # Plans of a start have their members alike: those of its first plan stand for all.
            members = self.propagation.next_member(self._first(state.member, plans), self.members)
            noise = self.latent.noise(tuple(members.shape), state.stoch)
            member = self.shared(members[:, None], plans)[:, 0]  # (B N P)
            state = self._predicted(state, action, member, self.shared(noise, plans))
            yield state

    def _first(self, member: Int[Tensor, " N"], plans: int) -> Int[Tensor, " B"]:
        if plans == 1:
            return member
        rows = rearrange(member, "(B N P) -> N (B P)", N=plans, P=self.particles)
        return rows[0]

    def _predicted(
        self,
        state: EnsembleState,
        action: Float[Tensor, "B A"],
        member: Int[Tensor, " B"],
        noise: Tensor,
    ) -> EnsembleState:
        groups = group_rows(member, self.members)
        inputs = (groups.split(values) for values in (state.deter, state.stoch, action))
        deter, params = (groups.join(values) for values in self._each(*inputs))  # B D, B P
        return EnsembleState(deter, self.latent.sample(params, noise), params, member)

    def _in_turn(self, count: int) -> Tensor:
        return torch.arange(count, device=self.stoch_in.weight.device) % self.members

    def _each(
        self,
        deter: Float[Tensor, "M C D"],
        stoch: Float[Tensor, "M C S"],
        action: Float[Tensor, "M C A"],
    ) -> tuple[Float[Tensor, "M C D"], Float[Tensor, "M C P"]]:
        """Every member's transition of its own rows, in batched products."""
        weights: dict[str, Tensor] = {
            name: weight
            for layer in _TRANSITION
            for name, weight in self.get_submodule(layer).named_parameters(layer)
        }

        def transition(member: dict[str, Tensor], *inputs: Tensor) -> tuple[Tensor, Tensor]:
            return functional_call(self, member, inputs)

        return vmap(transition)(weights, deter, stoch, action)


class EnsembleRSSM(Ensemble):
    """M transitions on one Gaussian latent.

    Args:
        embed_dim: E, size of a frame's embedding.
        action_dim: A.
        members: M.
        particles: imagined trajectories per plan, a multiple of ``members`` (M when None).
        propagation: whom an imagined trajectory follows: ``TSinf`` (TS-infinity) or
            ``TS1`` (TS1).
        stoch: size of the latent.
        deter: size of the memory.
        hidden: width of the hidden layers.
        min_std: floor of the latent's standard deviation.

    Reference: Chua et al., 2018 (PETS); Sekar et al., 2020 (Plan2Explore).
    """

    def __init__(
        self,
        embed_dim: int,
        action_dim: int,
        members: int = 5,
        particles: int | None = None,
        propagation: Callable[[], Propagation] = TSinf,
        stoch: int = 30,
        deter: int = 200,
        hidden: int = 200,
        min_std: float = 0.1,
    ):
        latent = GaussianLatent(stoch, min_std)
        super().__init__(
            embed_dim, action_dim, latent, deter, hidden, members, particles, propagation
        )


class CategoricalEnsembleRSSM(Ensemble):
    """M transitions on one stack of categorical latents; see ``EnsembleRSSM``.

    Args:
        embed_dim: E, size of a frame's embedding.
        action_dim: A.
        members: M.
        particles: imagined trajectories per plan, a multiple of ``members`` (M when None).
        propagation: whom an imagined trajectory follows.
        stack: number of categoricals.
        classes: classes of each.
        deter: size of the memory.
        hidden: width of the hidden layers.
        unimix: share of the uniform distribution mixed into every categorical.
    """

    def __init__(
        self,
        embed_dim: int,
        action_dim: int,
        members: int = 5,
        particles: int | None = None,
        propagation: Callable[[], Propagation] = TSinf,
        stack: int = 32,
        classes: int = 32,
        deter: int = 512,
        hidden: int = 512,
        unimix: float = 0.01,
    ):
        latent = CategoricalLatent(stack, classes, unimix)
        super().__init__(
            embed_dim, action_dim, latent, deter, hidden, members, particles, propagation
        )


def _checked_particles(particles: int | None, members: int) -> int:
    count = members if particles is None else particles
    if count < 1 or count % members:
        raise ValueError(f"particles={count}: choose a multiple of members={members}")
    return count
