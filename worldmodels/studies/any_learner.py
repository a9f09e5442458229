"""SAC, DQN and PPO behind one interface: each with augmented data, and its model-free twin."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import torch

from worldmodels.behaviours import MBPO, FixedLength
from worldmodels.behaviours.algorithm import AlgorithmFactory
from worldmodels.studies.base import Role, Study, Variant
from worldmodels.studies.learners import (
    DQN_SMALL,
    PPO_SMALL,
    RETURN,
    SAC_SMALL,
    ChoiceBox,
    augmented,
    box,
    learned_model,
    mean_return,
    on_policy_twin,
    record,
    twin,
)
from worldmodels.studies.results import Check, Numbers, Results

COPIES = 10
LEARNERS: Mapping[str, AlgorithmFactory] = MappingProxyType(
    {"SAC": SAC_SMALL, "DQN": DQN_SMALL, "PPO": PPO_SMALL}
)
LATENTS = "DQN on latents, nothing imagined"


def with_model(algorithm: str) -> str:
    """The name of an arm."""
    return f"{algorithm}, augmented"


def model_free(algorithm: str) -> str:
    """The name of an arm."""
    return f"{algorithm}, model-free"


@dataclass(frozen=True)
class AnyLearner(Study):
    """GlitchBox with choices: three learners, one buffer, one model."""

    claim: ClassVar[str] = (
        "Short imagined rollouts from every real state help any model-free algorithm: SAC, DQN and "
        "PPO, behind one interface, from one buffer."
    )
    rule: ClassVar[str] = (
        "After the same env steps and updates SAC, DQN and PPO return more with augmented data "
        "than without a model, each by an interval of the paired differences above 0."
    )
    arms: ClassVar[tuple[Variant, ...]] = (
        *(Variant(with_model(n), Role.METHOD, "replay, and dreams of one model") for n in LEARNERS),
        *(Variant(model_free(n), Role.BASELINE, "the same episodes") for n in ("SAC", "DQN")),
        Variant(model_free("PPO"), Role.BASELINE, "as many env steps by its own policy: on-policy"),
        Variant(
            LATENTS, Role.ABLATION, "the model's latents and the same updates, but replay alone"
        ),
    )
    measures: ClassVar[Mapping[str, str]] = MappingProxyType(
        {RETURN: "mean return of the policy (24 is the best, random actions return 7)"}
    )
    episodes: int = 60
    model_updates: int = 800
    updates: int = 400
    length: int = 3
    starts: int = 40
    measured: int = 40

    @classmethod
    def smoke(cls) -> "AnyLearner":
        """Hardly any training."""
        return cls(episodes=20, model_updates=4, updates=3, starts=4, measured=4)

    def run(self, seed: int, folder: Path) -> Numbers:
        """One buffer and one model for all."""
        store, env = record(folder / "data", ChoiceBox, self.episodes, seed), box(ChoiceBox, 1)
        model = learned_model(store, env, self.model_updates, seed)

        def dreaming(name: str, ratio: float) -> float:
            torch.manual_seed(seed)
            behaviour = MBPO(
                model.dynamics.feature_dim,
                model.action_space,
                LEARNERS[name],
                partial(FixedLength, self.length),
                ratio,
                self.starts,
            )
            agent = augmented(model, store, behaviour, self.updates, seed)
            return mean_return(agent, ChoiceBox, self.measured, seed)

        # What was replayed is not PPO's own: it learns from dreams alone.
        found = {
            with_model(name): dreaming(name, 0.0 if name == "PPO" else 0.1) for name in LEARNERS
        }
        for name in ("SAC", "DQN"):
            agent = twin(store, env, LEARNERS[name], self.updates, seed)
            found[model_free(name)] = mean_return(agent, ChoiceBox, self.measured, seed)
        found[model_free("PPO")] = self._own(seed, folder / "own")
        found[LATENTS] = dreaming("DQN", 1.0)
        return {name: {RETURN: value} for name, value in found.items()}

    def verdict(self, results: Results) -> list[Check]:
        """Each against its twin."""
        return [results.beats(with_model(name), model_free(name), RETURN) for name in LEARNERS]

    def _own(self, seed: int, folder: Path) -> float:
        rounds = max(1, self.episodes // COPIES)
        updates = max(1, self.updates // rounds)
        algorithm = partial(PPO_SMALL, refresh=updates)
        agent = on_policy_twin(folder, box(ChoiceBox, COPIES), algorithm, (rounds, updates), seed)
        return mean_return(agent, ChoiceBox, self.measured, seed)
