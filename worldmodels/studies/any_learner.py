"""SAC, DQN and PPO behind one interface: each with augmented data, and without a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from worldmodels.behaviours import MBPO, FixedLength
from worldmodels.behaviours.algorithm import AlgorithmFactory
from worldmodels.studies.algorithms import (
    COPIES,
    DQN_SMALL,
    PPO_SMALL,
    RETURN,
    SAC_SMALL,
    ChoiceBox,
    box,
    learn_augmented,
    learn_model,
    learn_model_free,
    learn_on_policy,
    mean_return,
    record,
)
from worldmodels.studies.base import Role, Study, Variant
from worldmodels.studies.results import Check, Numbers, Results

ALGORITHMS: Mapping[str, AlgorithmFactory] = MappingProxyType(
    {"SAC": SAC_SMALL, "DQN": DQN_SMALL, "PPO": PPO_SMALL}
)
LATENTS = "DQN on latents, nothing imagined"


def with_model(algorithm: str) -> str:
    """The name of a variant."""
    return f"{algorithm}, augmented"


def model_free(algorithm: str) -> str:
    """The name of a variant."""
    return f"{algorithm}, model-free"


@dataclass(frozen=True)
class AnyLearner(Study):
    """GlitchBox with choices: three algorithms, one buffer, one model."""

    claim: ClassVar[str] = (
        "Short imagined rollouts from every real state help any model-free learner: SAC, DQN and "
        "PPO, behind one interface, from one buffer."
    )
    rule: ClassVar[str] = (
        "After the same env steps and updates SAC, DQN and PPO return more with augmented data "
        "than without a model, each by an interval of the paired differences above 0."
    )
    variants: ClassVar[tuple[Variant, ...]] = (
        *(
            Variant(with_model(n), Role.METHOD, "replay, and dreams of one model")
            for n in ALGORITHMS
        ),
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
        data, env = record(folder / "data", ChoiceBox, self.episodes, seed), box(ChoiceBox, 1)
        model = learn_model(folder / "model", data, env, self.model_updates, seed)

        def augmented(name: str, ratio: float) -> float:
            behaviour = partial(
                MBPO,
                algorithm=ALGORITHMS[name],
                length=partial(FixedLength, steps=self.length),
                real_ratio=ratio,
                starts=self.starts,
            )
            run = folder / f"{name}, {ratio} replayed"
            agent = learn_augmented(run, data, model, behaviour, self.updates, seed)
            return mean_return(agent, ChoiceBox, self.measured, seed)

        # What was replayed is not PPO's own: it learns from imagined transitions alone.
        found = {
            with_model(name): augmented(name, 0.0 if name == "PPO" else 0.1) for name in ALGORITHMS
        }
        for name in ("SAC", "DQN"):
            run = folder / model_free(name)
            agent = learn_model_free(run, data, env, ALGORITHMS[name], self.updates, seed)
            found[model_free(name)] = mean_return(agent, ChoiceBox, self.measured, seed)
        found[model_free("PPO")] = self._on_policy(seed, folder / "own")
        found[LATENTS] = augmented("DQN", 1.0)
        return {name: {RETURN: value} for name, value in found.items()}

    def verdict(self, results: Results) -> list[Check]:
        """Each against its model-free baseline."""
        return [results.beats(with_model(name), model_free(name), RETURN) for name in ALGORITHMS]

    def _on_policy(self, seed: int, folder: Path) -> float:
        rounds = max(1, self.episodes // COPIES)
        updates = max(1, self.updates // rounds)
        # The older policy is renewed once a round.
        algorithm = partial(PPO_SMALL, refresh=updates)
        agent = learn_on_policy(folder, box(ChoiceBox, COPIES), algorithm, rounds, updates, seed)
        return mean_return(agent, ChoiceBox, self.measured, seed)
