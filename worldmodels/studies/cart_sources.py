"""CartSwing as dynamics: the exact simulator, and one whose physics is fitted to data.

Beside the learned RSSM these are the other two sources of a model. Put into a ``WorldModel`` with
``CartReadout``, ``ArrivalReward`` and ``NeverEnds``, they are scored, planned in and acted with
like any other dynamics.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodels.dynamics.base import Dynamics
from worldmodels.nn.heads import Head
from worldmodels.studies.cart_physics import CartEquations, CartParameters, wrapped


class CartState(NamedTuple):
    """Position (m), angle (rad), their rates, and the reward received on arrival."""

    motion: Float[Tensor, "*batch 4"]
    reward: Float[Tensor, "*batch"]


class CartDynamics(Dynamics):
    """CartSwing's equations behind the interface of learned dynamics; use a subclass.

    A frame's embedding starts with the measured position and angle. It corrects a prediction with
    fixed gains, low ones, since the equations know more than a frame of 64 pixels. A surprise of
    more than ``jump`` (m, rad) is no noise: an episode begins elsewhere than ``initial`` supposes,
    and the frame is believed.
    """

    place_gain, rate_gain, jump = 0.3, 0.05, 1.0

    def __init__(self, embed_dim: int, action_dim: int, equations: CartEquations):
        super().__init__()
        if embed_dim < 2:
            raise ValueError(f"embed_dim={embed_dim}: an embedding starts with position and angle")
        self.equations = equations
        self.feature_dim = 6

    def initial(self, batch: int) -> CartState:
        """Hanging still in the middle."""
        zero = self.equations.log.new_zeros(batch)
        return CartState(torch.stack([zero, zero + torch.pi, zero, zero], -1), zero)

    def prior(self, state: CartState, action: Float[Tensor, "B A"]) -> CartState:
        """One agent step of the equations; further action dimensions are idle."""
        return CartState(*self.equations(state.motion, action[:, :1]))

    def posterior(self, prior: CartState, embed: Float[Tensor, "B E"]) -> CartState:
        """Moves place and rates by a share of the surprise (an alpha-beta filter)."""
        surprise = self._surprise(prior, embed)
        jumped = surprise.abs() > self.jump
        place_gain = torch.where(jumped, 1.0, self.place_gain)
        rate_gain = torch.where(jumped, 0.0, self.rate_gain)
        per_second = rate_gain / (self.equations.time_step * self.equations.repeat)
        correction = torch.cat([place_gain * surprise, per_second * surprise], -1)
        return prior._replace(motion=prior.motion + correction)

    def kl(self, posterior: CartState, prior: CartState) -> Float[Tensor, "*batch"]:
        """That of normals of unit variance around position and angle."""
        return 0.5 * self._surprise(prior, posterior.motion).square().sum(-1)

    def feature(self, state: CartState) -> Float[Tensor, "*batch F"]:
        """Position, cosine and sine of the angle, both rates, the reward on arrival."""
        position, angle, velocity, spin = state.motion.unbind(-1)
        parts = [position, angle.cos(), angle.sin(), velocity, spin, state.reward]
        return torch.stack(parts, -1)

    def _surprise(self, prior: CartState, measured: Tensor) -> Tensor:
        gap = measured[..., :2] - prior.motion[..., :2]
        return torch.stack([gap[..., 0], wrapped(gap[..., 1])], -1)


class ExactCartSwing(CartDynamics):
    """The simulator itself: nothing to learn.

    Args:
        embed_dim: E, at least 2.
        action_dim: A.
        repeat: world steps per agent step (the environment's ``action_repeat``).
    """

    def __init__(self, embed_dim: int, action_dim: int, repeat: int = 1):
        equations = CartEquations(CartParameters(), repeat).requires_grad_(False)
        super().__init__(embed_dim, action_dim, equations)


class FittedCartSwing(CartDynamics):
    """The right equations with unknown parameters: learned by gradient, or by ``cart_fitting.py``.

    Args:
        embed_dim: E, at least 2.
        action_dim: A.
        repeat: world steps per agent step (the environment's ``action_repeat``).
        cart_mass: first guess in kilograms, like the others wrong on purpose.
        pole_mass: kilograms.
        pole_length: metres.
        cart_damping: viscous friction of the slider.
        pole_damping: viscous friction of the hinge.
    """

    def __init__(
        self,
        embed_dim: int,
        action_dim: int,
        repeat: int = 1,
        cart_mass: float = 2.0,
        pole_mass: float = 0.3,
        pole_length: float = 0.6,
        cart_damping: float = 5e-3,
        pole_damping: float = 2e-5,
    ):
        guess = CartParameters(cart_mass, pole_mass, pole_length, cart_damping, pole_damping)
        super().__init__(embed_dim, action_dim, CartEquations(guess, repeat))


class ArrivalReward(Head):
    """Reads the simulated reward, which is the last entry of the feature."""

    def __init__(self, feature_dim: int):
        super().__init__()

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """The reward."""
        return feature[..., -1]

    def loss(
        self, feature: Float[Tensor, "*batch F"], target: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        """Half the squared error."""
        return 0.5 * (self(feature) - target).square()
