"""Short rollouts from every visited state, against rollouts from the starts of episodes alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from worldmodels.behaviours import MBPO, EpisodeStarts, EveryState, FixedLength
from worldmodels.behaviours.branches import Branches
from worldmodels.studies.algorithms import (
    RETURN,
    SAC_SMALL,
    STEPS,
    QuickBox,
    box,
    learn_augmented,
    learn_model,
    learn_model_free,
    mean_return,
    record,
)
from worldmodels.studies.base import Role, Study, Variant
from worldmodels.studies.results import Check, Numbers, Results

EVERY, START, FULL = "3 steps, every state", "3 steps, starts", "30 steps, starts"
FREE, MORE = "model-free", "model-free, 5 times the data"
ROLLOUTS: Mapping[str, tuple[int, type[Branches]]] = MappingProxyType(
    {EVERY: (3, EveryState), START: (3, EpisodeStarts), FULL: (STEPS, EpisodeStarts)}
)


@dataclass(frozen=True)
class Augmentation(Study):
    """SAC on a quick GlitchBox: one buffer, one model for all variants that imagine.

    All learn from the same episodes of a wanderer, which cover the disc and the glitch around it,
    so nobody is helped by better exploration. Every variant that has the model imagines as many
    transitions.
    """

    claim: ClassVar[str] = (
        "Model-free learning is helped most by short imagined rollouts that branch from every real "
        "state: short ones from the starts of episodes miss what comes later, full-length ones "
        "add up the model's errors. It then needs a fifth of the environment's steps."
    )
    rule: ClassVar[str] = (
        "Mean returns after the same env steps and updates: short rollouts from every state above "
        "short ones from the starts of episodes, those above full-length ones from the starts. "
        "The first also return more than the model-free twin with five times the env steps, which "
        "therefore needs more than five times as many to get there."
    )
    variants: ClassVar[tuple[Variant, ...]] = (
        Variant(EVERY, Role.METHOD, "rollouts of 3 steps from any replayed state"),
        Variant(START, Role.BASELINE, "as many transitions, from first states of episodes"),
        Variant(FULL, Role.BASELINE, "as many transitions, in rollouts as long as an episode"),
        Variant(FREE, Role.ABLATION, "the same episodes and updates of the learner, no model"),
        Variant(MORE, Role.BASELINE, "no model, five times the episodes and twice the updates"),
    )
    measures: ClassVar[Mapping[str, str]] = MappingProxyType(
        {RETURN: "mean return of the policy (24 is the best, random actions return 7)"}
    )
    episodes: int = 60
    model_updates: int = 800
    updates: int = 400
    transitions: int = 300
    measured: int = 40

    @classmethod
    def smoke(cls) -> "Augmentation":
        """Hardly any training."""
        return cls(episodes=20, model_updates=4, updates=3, measured=4)

    def run(self, seed: int, folder: Path) -> Numbers:
        """One buffer, one model, and none."""
        data, env = record(folder / "data", QuickBox, self.episodes, seed), box(QuickBox, 1)
        model = learn_model(folder / "model", data, env, self.model_updates, seed)
        agents = {}
        for name, (length, branches) in ROLLOUTS.items():
            behaviour = partial(
                MBPO,
                algorithm=SAC_SMALL,
                length=partial(FixedLength, steps=length),
                real_ratio=0.1,
                starts=self.transitions // length,
                branches=branches,
            )
            run = folder / name
            agents[name] = learn_augmented(run, data, model, behaviour, self.updates, seed)
        more = record(folder / "more", QuickBox, 5 * self.episodes, seed)
        for name, episodes, updates in ((FREE, data, self.updates), (MORE, more, 2 * self.updates)):
            run = folder / name
            agents[name] = learn_model_free(run, episodes, env, SAC_SMALL, updates, seed)
        return {
            name: {RETURN: mean_return(agent, QuickBox, self.measured, seed)}
            for name, agent in agents.items()
        }

    def verdict(self, results: Results) -> list[Check]:
        """The order of the three, and five times as many steps without a model."""
        return [above(results, *pair) for pair in ((EVERY, START), (START, FULL), (EVERY, MORE))]


def above(results: Results, variant: str, other: str) -> Check:
    """The mean of one variant lies above that of another; the interval is shown."""
    lead = results.lead(variant, other, RETURN)
    return Check(f"{RETURN}: {variant} above {other} by {lead}, mean above 0", lead.mean > 0)
