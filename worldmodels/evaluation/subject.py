"""What is evaluated: a run folder, a finished training run or an agent, and where it acts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import nn

from worldmodels.agent import Agent
from worldmodels.behaviours.base import Behaviour
from worldmodels.checkpoint import load, read_about
from worldmodels.envs.base import PixelEnv
from worldmodels.envs.make import make_env
from worldmodels.replay.episode import Episode
from worldmodels.replay.store import EpisodeStore
from worldmodels.world_model import WorldModel


@runtime_checkable
class TrainedRun(Protocol):
    """What ``train`` returns: its folder holds the agent."""

    @property
    def path(self) -> Path:
        """The run's folder."""
        ...


Run = Path | str | TrainedRun | Agent
"""What is evaluated: a run folder, what ``train`` returned, or an agent itself."""


class Subject(NamedTuple):
    """An agent, what messages call it, and the arguments of ``make_env`` that show its world."""

    name: str
    agent: Agent
    world: dict[str, Any] | None

    @property
    def model(self) -> WorldModel:
        """Its model of the world.

        Raises:
            ValueError: when it is model-free.
        """
        model = self.agent.world_model
        if not isinstance(model, WorldModel):
            raise ValueError(
                f"{self.name} is model-free: its {type(model).__name__} predicts nothing; "
                "give a run with a world model, or evaluate its policy"
            )
        return model

    @property
    def behaviour(self) -> Behaviour:
        """What it learned to do.

        Raises:
            ValueError: when it learned no policy.
        """
        if self.agent.behaviour is None:
            raise ValueError(
                f"policy: {self.name} learned no policy: leave it out, or train a behaviour"
            )
        return self.agent.behaviour


def find_subject(run: Run) -> Subject:
    """Loads the agent of a run; an agent is taken as it is.

    Raises:
        FileNotFoundError: when there is no model.
    """
    if isinstance(run, Agent):
        return Subject("this agent", run, None)
    path = Path(run if isinstance(run, Path | str) else run.path)
    return Subject(str(path), load(path), read_about(path)["env"])


@contextmanager
def world_of(subject: Subject, env: PixelEnv | None, **changes: Any) -> Iterator[PixelEnv]:
    """The environment that was given, or the one that a run was trained in, closed at the end.

    Args:
        subject: who will act.
        env: the caller's own, which stays open.
        changes: arguments of ``make_env`` in the place of the run's.

    Raises:
        ValueError: when there is no environment, or it shows other frames or takes other actions.
    """
    if env is None and subject.world is None:
        raise ValueError(f"{subject.name} knows no environment: give env=make_env(...), or a run")
    world = env if env is not None else make_env(**((subject.world or {}) | changes))
    try:
        _check_kind(subject, world.name, world.obs_shape, world.action_space)
        yield world
    finally:
        if env is None:
            world.close()


def data_of(subject: Subject, data: Path | str | EpisodeStore) -> EpisodeStore:
    """A data set of frames and actions like the model's own.

    Raises:
        FileNotFoundError: when there is no data set.
        ValueError: when it holds other frames or actions.
    """
    store = data if isinstance(data, EpisodeStore) else EpisodeStore(data)
    _check_kind(subject, str(store.directory), store.spec.obs_shape, store.spec.action_space)
    return store


def recorded_episode(store: EpisodeStore, index: int) -> Episode:
    """One episode of a data set.

    Raises:
        ValueError: when there is no such episode, or it is damaged.
    """
    if not 0 <= index < len(store.records):
        raise ValueError(
            f"episode={index}: {store.directory} holds episodes 0 to {len(store.records) - 1}"
        )
    episode = store.read(store.records[index])
    if episode is None:
        raise ValueError(f"episode={index} of {store.directory} is damaged: choose another one")
    return episode


@contextmanager
def evaluating(agent: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; every module is left in the mode that it was in."""
    modes = {module: module.training for module in agent.modules()}
    agent.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _check_kind(subject: Subject, name: str, *given: Any) -> None:
    model = subject.agent.world_model
    if given != (model.obs_shape, model.action_space):
        raise ValueError(
            f"{name} has frames {given[0]} and {given[1]}, {subject.name} was trained on "
            f"{model.obs_shape} and {model.action_space}: choose an environment or data of the "
            "same kind"
        )
