"""How far to imagine: too short teaches slowly, too long teaches the model's errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from worldmodels.behaviours import MBPO, FixedLength, ValidatedLength
from worldmodels.replay.buffer import ReplayBuffer
from worldmodels.replay.store import EpisodeStore
from worldmodels.studies.algorithms import (
    RETURN,
    SAC_SMALL,
    QuickBox,
    box,
    learn_augmented,
    learn_model,
    mean_return,
    record,
)
from worldmodels.studies.base import Role, Study, Variant
from worldmodels.studies.results import Check, Numbers, Results
from worldmodels.world_model import WorldModel

LENGTH = "rollout length"
LENGTHS = (1, 3, 5, 15, 30)
AUTOMATIC = "automatic"


def fixed(length: int) -> str:
    """The name of a variant."""
    return f"length {length}"


@dataclass(frozen=True)
class RolloutLengths(Study):
    """SAC on a quick GlitchBox, in one model, with rollouts of fixed and of validated length.

    Every variant branches from every state and imagines as many transitions at an update: half as
    many rollouts where they are twice as long.
    """

    claim: ClassVar[str] = (
        "Augmented data has one more hyper-parameter, the rollout length: an inner one is best, "
        "and the model's error on held-out episodes finds it."
    )
    rule: ClassVar[str] = (
        "Of the mean returns with 1, 3, 5, 15 and 30 imagined steps neither that with 1 nor that "
        "with 30 is the best one. The length chosen by the error on held-out episodes returns at "
        "least 95 % of the best fixed length's mean."
    )
    variants: ClassVar[tuple[Variant, ...]] = (
        Variant(fixed(1), Role.BASELINE, "the shortest"),
        *(Variant(fixed(n), Role.ABLATION, "an inner one, chosen by hand") for n in LENGTHS[1:-1]),
        Variant(fixed(30), Role.BASELINE, "as long as an episode"),
        Variant(AUTOMATIC, Role.METHOD, "ValidatedLength: 1 to 15 steps, an error of at most 0.3"),
    )
    measures: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            RETURN: "mean return of the policy (24 is the best, random actions return 7)",
            LENGTH: "imagined steps",
        }
    )
    episodes: int = 60
    model_updates: int = 800
    updates: int = 400
    transitions: int = 300
    measured: int = 40

    @classmethod
    def smoke(cls) -> "RolloutLengths":
        """Hardly any training."""
        return cls(episodes=20, model_updates=4, updates=3, measured=4)

    def run(self, seed: int, folder: Path) -> Numbers:
        """One buffer and one model for all lengths."""
        data, env = record(folder / "data", QuickBox, self.episodes, seed), box(QuickBox, 1)
        model = learn_model(folder / "model", data, env, self.model_updates, seed)
        lengths = {fixed(n): n for n in LENGTHS} | {AUTOMATIC: validated(model, data, seed)}
        numbers = {}
        for name, length in lengths.items():
            behaviour = partial(
                MBPO,
                algorithm=SAC_SMALL,
                length=partial(FixedLength, steps=length),
                real_ratio=0.1,
                starts=self.transitions // length,
            )
            agent = learn_augmented(folder / name, data, model, behaviour, self.updates, seed)
            returned = mean_return(agent, QuickBox, self.measured, seed)
            numbers[name] = {RETURN: returned, LENGTH: float(length)}
        return numbers

    def verdict(self, results: Results) -> list[Check]:
        """An inverted U, and its top found."""
        means = {n: results.interval(fixed(n), RETURN).mean for n in LENGTHS}
        best = max(means, key=lambda n: means[n])
        text = ", ".join(f"{n}: {mean:.1f}" for n, mean in means.items())
        inner = Check(f"{RETURN} by length {text}; best at {best}", best in LENGTHS[1:-1])
        return [inner, results.at_least(AUTOMATIC, RETURN, 0.95 * means[best])]


def validated(model: WorldModel, data: Path, seed: int) -> int:
    """The rollout length that a model's error on held-out episodes allows."""
    behaviour = MBPO(model.feature_dim, model.action_space, length=partial(ValidatedLength, 15))
    held_out = ReplayBuffer(EpisodeStore(data), held_out=0.1).sample_held_out(64, 20, seed)
    behaviour.validate(model, held_out)
    return behaviour.length(0)
