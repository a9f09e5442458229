"""The RSSM of DreamerV3's last version: a block-diagonal GRU behind separately normed inputs."""

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.dynamics.latents import CategoricalLatent
from worldmodels.dynamics.rssm import RecurrentStateSpace
from worldmodels.nn.blocks import MLP, BlockLinear, RMSNorm, SiLU, initialise, truncated_normal_init


class Bounded(nn.Module):
    """Divides every number by its size where that exceeds 1; the divisor passes no gradient."""

    def forward(self, x: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch A"]:
        """Numbers in [-1, 1]."""
        return x / x.detach().abs().clamp(min=1)


class BlockRSSM(RecurrentStateSpace):
    """RSSM with a stack of categorical latents and a memory of G blocks.

    One step: memory, sample and action pass a layer (linear, norm, SiLU) of their own. Each block
    of the memory, beside all three, passes a hidden layer and the gates of a GRU. Blocks meet in
    the norm of the hidden layer and in the layer that reads the memory. So a large memory costs a
    G-th of a dense one's weights.

    Args:
        embed_dim: E, size of a frame's embedding.
        action_dim: A.
        stack: number of categoricals.
        classes: classes of each.
        deter: D, size of the memory.
        hidden: X, width of the hidden layers.
        blocks: G.
        unimix: share of the uniform distribution mixed into every categorical.

    Raises:
        ValueError: when ``deter`` does not divide into ``blocks``.

    Reference: Hafner et al., 2025 (DreamerV3, Nature), released code.
    """

    def __init__(
        self,
        embed_dim: int,
        action_dim: int,
        stack: int = 32,
        classes: int = 16,
        deter: int = 2048,
        hidden: int = 256,
        blocks: int = 8,
        unimix: float = 0.01,
    ):
        super().__init__()
        if blocks < 1 or deter % blocks:
            raise ValueError(
                f"BlockRSSM: deter={deter} does not divide into blocks={blocks}: choose a multiple"
            )
        self.latent, self.deter_dim = CategoricalLatent(stack, classes, unimix), deter
        self.feature_dim, self.blocks = deter + self.latent.dim, blocks
        self.memory_in = _layer(deter, hidden)
        self.stoch_in = _layer(self.latent.dim, hidden)
        self.action_in = nn.Sequential(Bounded(), *_layer(action_dim, hidden))
        self.core_in = BlockLinear(deter + blocks * 3 * hidden, deter, blocks)
        self.core_norm = nn.Sequential(RMSNorm(deter), SiLU())
        self.gates = BlockLinear(deter, 3 * deter, blocks)
        self.prior_net = MLP(deter, self.latent.raw_dim, hidden=hidden, layers=2, norm=RMSNorm)
        self.deter_in = nn.Linear(deter, hidden)
        self.embed_in = nn.Linear(embed_dim, hidden, bias=False)
        self.posterior_norm = RMSNorm(hidden)
        self.posterior_out = nn.Linear(hidden, self.latent.raw_dim)
        initialise(self)
        # The two products are one matrix cut in two: both count towards the fan-in.
        for layer in (self.deter_in, self.embed_in):
            truncated_normal_init(layer.weight, deter + embed_dim)

    def _advance(self, deter: Tensor, stoch: Tensor, projected_action: Tensor) -> Tensor:
        inputs = [self.memory_in(deter), self.stoch_in(stoch), projected_action]
        everyone = repeat(torch.cat(inputs, -1), "B X -> B G X", G=self.blocks)  # B G 3X
        own = rearrange(deter, "B (G D) -> B G D", G=self.blocks)  # B G D/G
        joined = torch.cat([own.to(everyone.dtype), everyone], -1)  # B G D/G+3X
        hidden = self.core_norm(self.core_in(rearrange(joined, "B G X -> B (G X)")))  # B D
        # Under autocast the gates are bfloat16; the state that is carried stays as it came.
        gates = self.gates(hidden).to(deter.dtype)  # B 3D
        # Every block has three gates of its own.
        reset, candidate, update = rearrange(
            gates, "B (G K D) -> K B (G D)", G=self.blocks, K=3
        )  # each B D
        candidate = torch.tanh(reset.sigmoid() * candidate)
        return torch.lerp(deter, candidate, torch.sigmoid(update - 1))


def _layer(in_dim: int, out_dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(in_dim, out_dim), RMSNorm(out_dim), SiLU())
