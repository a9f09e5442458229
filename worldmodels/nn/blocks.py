"""Building blocks: perceptron, norms, block-diagonal layer, GRU cell, weight initialisation."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise

import torch
from einops import pack, rearrange, unpack
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

# Standard deviation of a unit normal cut off at two standard deviations.
_TRUNCATED_STD = 0.87962566103423978


def truncated_normal_init(weight: Tensor, fan_in: int) -> None:
    """Fills ``weight`` with a normal of variance ``1 / fan_in``, cut off at two deviations.

    Reference: Hafner et al., 2023 (DreamerV3), released code.
    """
    std = fan_in**-0.5 / _TRUNCATED_STD
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


def initialise(module: nn.Module) -> None:
    """Sets every linear and convolution layer inside ``module``: truncated normal, zero bias."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            truncated_normal_init(layer.weight, _fan_in(layer))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def zero_init(layer: nn.Linear | nn.ConvTranspose2d) -> None:
    """Makes an output layer answer 0, so that an untrained head biases nothing.

    Reference: Hafner et al., 2023 (DreamerV3), appendix on reward and critic heads.
    """
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _fan_in(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> int:
    if isinstance(layer, nn.Linear):
        return layer.in_features
    taps = layer.kernel_size[0] * layer.kernel_size[1]
    if isinstance(layer, nn.ConvTranspose2d):
        # A stride of s leaves each output pixel only 1 / s^2 of the taps.
        taps = max(1, taps // (layer.stride[0] * layer.stride[1]))
    return layer.in_channels // layer.groups * taps


class Norm(nn.Module, ABC):
    """A norm over the last axis; subclasses take its size first."""

    @abstractmethod
    def forward(self, x: Float[Tensor, "*batch X"]) -> Float[Tensor, "*batch X"]:
        """Normalises every row."""


class LayerNorm(nn.LayerNorm, Norm):
    """A layer norm in the precision of its weights, also where autocast hands it less.

    On a CPU norm and activation take less time than in bfloat16, casts included.
    """

    def forward(self, x: Float[Tensor, "*batch X"]) -> Float[Tensor, "*batch X"]:
        """Zero mean and unit variance over the last axis, then scaled and shifted."""
        return super().forward(x.to(self.weight.dtype))


class RMSNorm(Norm):
    """Divides by the root mean square, then scales; in the precision of its weights.

    There is no shift. Under autocast it computes in float32, as ``LayerNorm`` does.

    Args:
        size: of the last axis.
        eps: added to the mean square.

    Reference: Zhang and Sennrich, 2019; Hafner et al., 2025 (DreamerV3, Nature), released code.
    """

    def __init__(self, size: int, eps: float = 1e-4):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Float[Tensor, "*batch X"]) -> Float[Tensor, "*batch X"]:
        """Unit mean square over the last axis, then scaled."""
        return F.rms_norm(x.to(self.weight.dtype), self.weight.shape, self.weight, self.eps)


class SiLU(nn.Module):
    """``x * sigmoid(x)``, in place without gradients: give it what nobody else reads."""

    def forward(self, x: Float[Tensor, "*batch X"]) -> Float[Tensor, "*batch X"]:
        """Element by element."""
        return F.silu(x, inplace=not torch.is_grad_enabled())


class MLP(nn.Module):
    """``layers`` times (linear, norm, activation), then a plain linear layer.

    With ``layers=0`` it is that last linear layer alone.

    Args:
        in_dim: size of the input's last axis.
        out_dim: size of the output's last axis.
        hidden: width of the hidden layers.
        layers: number of hidden layers.
        activation: called without arguments.
        norm: called with the width.
        outscale: factor on the last layer's initial weights; with 0 it answers 0.

    Attributes:
        output: the last linear layer (for ``zero_init``).
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        hidden: int = 256,
        layers: int = 2,
        activation: Callable[[], nn.Module] = SiLU,
        norm: Callable[[int], Norm] = LayerNorm,
        outscale: float = 1.0,
    ):
        super().__init__()
        widths = [in_dim] + [hidden] * layers
        stack = [
            nn.Sequential(nn.Linear(before, after), norm(after), activation())
            for before, after in pairwise(widths)
        ]
        self.hidden = nn.Sequential(*stack)
        self.output = nn.Linear(widths[-1], out_dim)
        initialise(self)
        if outscale == 0:
            zero_init(self.output)
        else:
            self.output.weight.data *= outscale

    def forward(self, x: Float[Tensor, "*batch X"]) -> Float[Tensor, "*batch Y"]:
        """Maps the last axis from ``in_dim`` to ``out_dim``."""
        return self.output(self.hidden(x))


class BlockLinear(nn.Module):
    """A linear layer whose matrix is block-diagonal: each group of outputs reads its own inputs.

    Args:
        in_dim: size of the input's last axis, G groups of equal size one after the other.
        out_dim: size of the output's last axis, in G groups as well.
        groups: G.

    Raises:
        ValueError: when a size does not divide into so many groups.

    Reference: Hafner et al., 2025 (DreamerV3, Nature), section on the world model.
    """

    def __init__(self, in_dim: int, out_dim: int, groups: int):
        super().__init__()
        if groups < 1 or in_dim % groups or out_dim % groups:
            raise ValueError(
                f"BlockLinear: groups={groups} must divide both in_dim={in_dim} and "
                f"out_dim={out_dim}: choose sizes that are multiples of it"
            )
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(groups, in_dim // groups, out_dim // groups))
        self.bias = nn.Parameter(torch.zeros(out_dim))
        # The released code counts the inputs of all groups as the fan-in of each output.
        truncated_normal_init(self.weight, in_dim)

    def forward(self, x: Float[Tensor, "*batch X"]) -> Float[Tensor, "*batch Y"]:
        """Maps every group of the last axis by its own matrix."""
        rows, batch = pack([x], "* X")
        rows = rearrange(rows, "N (G I) -> G N I", G=self.groups)
        bias = rearrange(self.bias, "(G O) -> G 1 O", G=self.groups)
        out = rearrange(torch.baddbmm(bias, rows, self.weight), "G N O -> N (G O)")
        return unpack(out, batch, "* Y")[0]


def rounded(x: Tensor) -> Tensor:
    """What autocast, where it is on, makes of ``x`` in a product: for who reads it often."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


class NormGRUCell(nn.Module):
    """A GRU cell with one layer norm over its joined gates and a slow start.

    The product with the input does not depend on the recurrent state, so a loop over time can
    ``project`` all its inputs at once and keep only the sequential half.

    Reference: Hafner et al., 2021 (DreamerV2), released code (update bias -1).
    """

    def __init__(self, input_dim: int, hidden_dim: int):
        super().__init__()
        self.from_input = nn.Linear(input_dim, 3 * hidden_dim, bias=False)
        self.from_hidden = nn.Linear(hidden_dim, 3 * hidden_dim, bias=False)
        # Torch's own, in bfloat16 under autocast: gates are too wide for a cache in float32.
        self.norm = nn.LayerNorm(3 * hidden_dim)
        # The two products are one matrix cut in two: both count towards the fan-in.
        for layer in (self.from_input, self.from_hidden):
            truncated_normal_init(layer.weight, input_dim + hidden_dim)

    def project(self, x: Float[Tensor, "*batch X"]) -> Float[Tensor, "*batch G"]:
        """The input's share of the gates, for any number of rows and steps."""
        return self.from_input(x)

    def forward(
        self, projected: Float[Tensor, "B G"], hidden: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        """One step: the next hidden state from a projected input and the last hidden state."""
        return self.move(torch.addmm(projected, hidden, self.from_hidden.weight.mT), hidden)

    def move(
        self, gates: Float[Tensor, "B G"], hidden: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B D"]:
        """The next hidden state from both shares of the gates, added up."""
        gates = self.norm(gates)
        # Under autocast the gates are bfloat16; the state that is carried stays as it came.
        reset, candidate, update = (gate.to(hidden.dtype) for gate in gates.chunk(3, -1))
        # Not `hidden.requires_grad`: inside of vmap a tensor does not know.
        if torch.is_grad_enabled():
            candidate = torch.tanh(reset.sigmoid() * candidate)
            return torch.lerp(hidden, candidate, torch.sigmoid(update - 1))
        # The same in place, with tanh by a sigmoid, which torch computes six times as fast; they
        # differ by rounding, 1e-7 in float32.
        candidate = reset.sigmoid_().mul_(candidate).mul_(2).sigmoid_().mul_(2).sub_(1)
        return torch.lerp(hidden, candidate, update.sub_(1).sigmoid_())
