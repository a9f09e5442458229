"""A value and a student policy, both trained inside a finished model from recorded episodes."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from worldmodels.behaviours import Distillation
from worldmodels.behaviours.base import Behaviour
from worldmodels.behaviours.critic import Critic
from worldmodels.planning import Planner
from worldmodels.studies.fitted_value import FittedValue
from worldmodels.studies.learning import learn_behaviour
from worldmodels.training.settings import Batches
from worldmodels.types import ActionSpace
from worldmodels.world_model import WorldModel

HIDDEN, LENGTH = 128, 20
"""Width of all networks, and frames of a replayed sequence."""


class Source(NamedTuple):
    """What behaviours learn from.

    Attributes:
        folder: of their runs.
        model: where they imagine.
        data: recorded episodes, whose states they imagine from.
        sequences: of ``LENGTH`` frames in a batch.
        seed: of everything.
    """

    folder: Path
    model: WorldModel
    data: Path
    sequences: int
    seed: int


class Queries(NamedTuple):
    """How often a planner is asked during a student's training.

    Attributes:
        rounds: of queries, distributed evenly over the updates.
        states: in which it is asked at each of them.
        student_fraction: share of these states that the student reaches in imagination.
    """

    rounds: int
    states: int
    student_fraction: float = 0.5


def fitted_value(source: Source, updates: int) -> FittedValue:
    """The value of the best that a model can do, by TD(lambda) without a policy."""

    def behaviour(feature_dim: int, space: ActionSpace) -> FittedValue:
        return FittedValue(feature_dim, space, starts=64, hidden=HIDDEN, learning_rate=3e-3)

    learned = _learned(source, "value", updates, behaviour)
    assert isinstance(learned, FittedValue)
    return learned


def student(
    source: Source,
    name: str,
    planner: Callable[[ActionSpace], Planner],
    updates: int,
    queries: Queries,
    value: Critic | None = None,
) -> Distillation:
    """A policy that imitates a planner.

    Learning rates fall to zero over the second half of the updates.

    Args:
        source: what it learns from.
        name: of its run.
        planner: who is imitated, called with the action space.
        updates: optimiser steps.
        queries: how often the planner is asked.
        value: at the planner's horizon, of the sizes that ``fitted_value`` has; it does not learn.
            None is a value of 0 everywhere.
    """

    def behaviour(feature_dim: int, space: ActionSpace) -> Distillation:
        made = Distillation(
            feature_dim,
            space,
            planner,
            query_every=max(1, updates // queries.rounds),
            queries=queries.states,
            student_fraction=queries.student_fraction,
            hidden=HIDDEN,
            actor_learning_rate=1e-3,
        )
        if value is not None:
            made.critic.load_state_dict(value.state_dict())
        # An untrained critic answers 0.
        made.critic.requires_grad_(False)
        return made

    learned = _learned(source, name, updates, behaviour, cooldown=0.5)
    assert isinstance(learned, Distillation)
    return learned


def _learned(
    source: Source,
    name: str,
    updates: int,
    behaviour: Callable[[int, ActionSpace], Behaviour],
    cooldown: float = 0.0,
) -> Behaviour | None:
    batches = Batches(source.sequences, LENGTH)
    return learn_behaviour(
        source.folder / name, source.data, source.seed, updates, source.model, behaviour, batches,
        cooldown,
    ).behaviour  # fmt: skip
