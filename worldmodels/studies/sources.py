"""Three sources of a model behind one interface: known equations, fitted ones, learned ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from worldmodels.agent import Agent
from worldmodels.dynamics.base import Dynamics
from worldmodels.envs.make import make_env
from worldmodels.envs.worlds.cart_swing import CartSwing, CartSwingState
from worldmodels.evaluation import evaluate_returns
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.heads import NeverEnds
from worldmodels.nn.pixels import HalfRange
from worldmodels.planning import CEM, MPC
from worldmodels.replay.episode import Episode
from worldmodels.replay.store import EpisodeStore
from worldmodels.studies.base import Role, Study, Variant
from worldmodels.studies.cart_fitting import fit_positions
from worldmodels.studies.cart_physics import CartEquations, CartParameters
from worldmodels.studies.cart_readout import CartReadout
from worldmodels.studies.cart_sources import ArrivalReward, ExactCartSwing, FittedCartSwing
from worldmodels.studies.learning import learn, model_of, random_data
from worldmodels.studies.results import Check, Numbers, Results
from worldmodels.world_model import WorldModel

EXACT, FITTED, GUESSED = "exact", "fitted to 2,000 frames", "first guess"
FEW, MANY = "learned from 2,000 frames", "learned from 20,000 frames"
RETURN = "return"
ERRORS = {name: f"error of {name}" for name in CartParameters._fields[:3]}
REPEAT = 8
FRAMES = 2000
ENV: Mapping[str, Any] = {
    "id": "worldmodels/CartSwing-v0",
    "action_repeat": REPEAT,
    "options": {"world": "worldmodels.studies.sources:Leaning"},
}


class Leaning(CartSwing):
    """CartSwing that begins at rest with the pole up to ``lean`` rad from upright, for 2 s."""

    time_limit = 200
    lean = 0.6

    def reset(self, rng: np.random.Generator, num: int) -> CartSwingState:
        """In the middle."""
        start = super().reset(rng, num)
        return start._replace(angle=rng.uniform(-self.lean, self.lean, num))


@dataclass(frozen=True)
class Sources(Study):
    """A pole that leans is caught and balanced, by the same planner in models of three sources."""

    claim: ClassVar[str] = (
        "Known equations, equations with unknown parameters fitted to pixels, and a model learned "
        "from pixels serve one planner through one interface."
    )
    rule: ClassVar[str] = (
        "Both masses and the length are found within 5 % from 2,000 random frames. Planning with "
        "the fitted equations returns at least 90 % of what the exact ones return, and so does "
        "planning in a model learned from 20,000 random frames. The equations with the first "
        "guess of their parameters, and a model learned from 2,000 frames, return less than 90 %."
    )
    variants: ClassVar[tuple[Variant, ...]] = (
        Variant(EXACT, Role.METHOD, "the world's own equations"),
        Variant(FITTED, Role.METHOD, "the equations, masses and length fitted to random frames"),
        Variant(MANY, Role.METHOD, "an RSSM"),
        Variant(FEW, Role.BASELINE, "an RSSM from the frames that the equations are fitted to"),
        Variant(
            GUESSED, Role.ABLATION, "the equations with the parameters that the fit starts from"
        ),
    )
    measures: ClassVar[Mapping[str, str]] = MappingProxyType(
        {RETURN: "mean return of episodes of 2 s (200 at most)"}
        | dict.fromkeys(ERRORS.values(), "relative error against the world's own")
    )
    episodes: int = 20
    frames: int = 20_000
    updates: int = 2500
    few_updates: int = 600

    @classmethod
    def smoke(cls) -> "Sources":
        """Two episodes, hardly trained models."""
        return cls(episodes=2, frames=2500, updates=20, few_updates=10)

    def run(self, seed: int, folder: Path) -> Numbers:
        """Every model sees the frames alone; all plan alike, from the same starts."""
        few = self._learned(folder / "few", seed, FRAMES, self.few_updates)
        many = self._learned(folder / "many", seed, self.frames, self.updates)
        exact, guess, fitted = (
            simulator(source) for source in (ExactCartSwing, FittedCartSwing, FittedCartSwing)
        )
        shown = list(EpisodeStore(folder / "few" / "replay"))
        # Every episode shows one frame more than it has steps.
        found = fit(_equations(fitted), shown[: FRAMES // shown[0].rows])
        numbers = {
            name: {RETURN: self._return(model, seed)}
            for name, model in {
                EXACT: exact, FITTED: fitted, MANY: many, FEW: few, GUESSED: guess
            }.items()
        }  # fmt: skip
        numbers[FITTED] |= parameter_errors(found)
        numbers[GUESSED] |= parameter_errors(_parameters(_equations(guess)))
        return numbers

    def verdict(self, results: Results) -> list[Check]:
        """The fit is right, good sources come close to the exact one, the others do not."""
        bound = 0.9 * results.interval(EXACT, RETURN).mean
        return [
            *(results.at_most(FITTED, error, 0.05) for error in ERRORS.values()),
            *(results.at_least(name, RETURN, bound) for name in (FITTED, MANY)),
            *(results.at_most(name, RETURN, bound) for name in (GUESSED, FEW)),
        ]

    def _learned(self, folder: Path, seed: int, frames: int, updates: int) -> WorldModel:
        # 80 episodes of 25 steps are 2,000 frames, beside the first one of each.
        env = make_env(**ENV, num_envs=20)
        return model_of(learn(folder, env, seed, updates, random_data(frames)).agent)

    def _return(self, model: WorldModel, seed: int) -> float:
        planner = CEM(model.action_space, horizon=12, candidates=100, iterations=4, elites=10)
        env = make_env(**ENV, num_envs=self.episodes)
        agent = Agent(model, MPC(planner)).eval()
        return evaluate_returns(agent, env, self.episodes, 1000 + 100 * seed).mean


def simulator(source: Callable[..., Dynamics]) -> WorldModel:
    """CartSwing's equations as a world model: nothing of it is trained but their parameters."""
    return WorldModel(
        (3, 64, 64),
        CartSwing.action_space,
        encoder=CartReadout,
        dynamics=partial(source, repeat=REPEAT),
        decoder=partial(ConvDecoder, depth=1),
        reward=ArrivalReward,
        continues=NeverEnds,
        pixels=HalfRange,
    ).eval()


def fit(equations: CartEquations, episodes: Sequence[Episode]) -> CartParameters:
    """Fits masses and length to the frames of episodes of equal length."""
    obs = torch.from_numpy(np.stack([episode.obs for episode in episodes]))
    action = torch.from_numpy(np.stack([episode.action for episode in episodes]))
    measured = CartReadout((3, 64, 64))(HalfRange((3, 64, 64))(obs))
    # Short windows forgive a wrong guess, long ones tell more.
    for length in (6, 13):
        fit_positions(equations, cut(measured, length), cut(action, length), steps=8)
    return _parameters(equations)


def cut(sequences: Float[Tensor, "B T X"], length: int) -> Float[Tensor, "N length X"]:
    """Cuts every sequence into windows of ``length`` rows and drops what remains of it."""
    rows = sequences.shape[1] // length * length
    return rearrange(sequences[:, :rows], "B (N T) X -> (B N) T X", T=length)


def parameter_errors(found: CartParameters) -> dict[str, float]:
    """How far masses and length are from the world's own, relatively."""
    return {
        error: abs(getattr(found, name) / getattr(CartSwing, name) - 1)
        for name, error in ERRORS.items()
    }


def _equations(model: WorldModel) -> CartEquations:
    assert isinstance(model.dynamics, ExactCartSwing | FittedCartSwing)
    return model.dynamics.equations


def _parameters(equations: CartEquations) -> CartParameters:
    return CartParameters(*equations.log.exp().tolist())
