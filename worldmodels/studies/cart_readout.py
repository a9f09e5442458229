"""Where cart and pole of CartSwing are, read out of a 64 x 64 frame by their colours."""

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodels.nn.encoders import Encoder
from worldmodels.types import ObsShape

# Pixels per metre, and the rail's row (as drawn by envs/worlds/cart_swing.py).
_SCALE, _RAIL = 15.0, 32.0
# Cart, pole and hinge cap in RGB; beside the hinge a pixel shows these three alone.
_COLOURS = ((52.0, 84.0, 140.0), (226.0, 104.0, 40.0), (250.0, 232.0, 190.0))


class CartReadout(Encoder):
    """Position (m) and angle (rad) of CartSwing: the hinge's cap, and the pole's direction from it.

    Expects colour frames of 64 x 64 under ``HalfRange`` pixels.

    Raises:
        ValueError: for another shape.
    """

    unmix: Tensor

    def __init__(self, obs_shape: ObsShape):
        super().__init__()
        if obs_shape != (3, 64, 64):
            raise ValueError(f"obs_shape={obs_shape}: CartReadout reads frames of (3, 64, 64)")
        self.embed_dim = 2
        # Two colour differences and the sum of shares: three equations for three shares.
        red, green, blue = torch.tensor(_COLOURS).unbind(1)
        mixing = torch.stack([red - green, green - blue, torch.ones(3)])
        self.register_buffer("unmix", mixing.inverse())

    def forward(self, image: Float[Tensor, "*batch C h w"]) -> Float[Tensor, "*batch E"]:
        """Measures every frame on its own."""
        red, green, blue = (255 * (image + 0.5)).unbind(-3)
        ours = torch.arange(64, device=image.device) + 0.5
        column = self._hinge(red - green, green - blue, ours)
        # Only the pole is redder than green by much.
        pole = (red - green - 20).clamp(min=0.0)
        weight = pole.sum((-1, -2)).clamp(min=1e-6)
        across = (pole.sum(-2) * ours).sum(-1) / weight - column
        up = _RAIL - (pole.sum(-1) * ours).sum(-1) / weight
        return torch.stack([(column - 32) / _SCALE, torch.atan2(across, up)], -1)

    def _hinge(self, first: Tensor, second: Tensor, ours: Tensor) -> Tensor:
        """The column of the cap's middle: first roughly, then by shares of colours around it."""
        band = slice(30, 34)
        first, second = first[..., band, :], second[..., band, :]
        # This combination is 0 for the pole, positive for the cap, negative for all else.
        rough = (second - 0.525 * first).clamp(min=0.0).sum(-2)
        column = (rough * ours).sum(-1) / rough.sum(-1).clamp(min=1e-6)
        known = torch.stack([first, second, torch.ones_like(first)], -1)
        cap = (known @ self.unmix.mT)[..., 2].clamp(0.0, 1.0).sum(-2)
        near = cap * ((ours - column[..., None]).abs() < 2.5)
        return (near * ours).sum(-1) / near.sum(-1).clamp(min=1e-6)
