"""How much a run's agent earns, and how far ahead its model predicts right."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from worldmodels.checks import check_at_least
from worldmodels.envs.base import PixelEnv
from worldmodels.evaluation.agents import PlannerChoice, acting_agent
from worldmodels.evaluation.open_loop import OpenLoopError, open_loop
from worldmodels.evaluation.returns import Returns, evaluate_returns
from worldmodels.evaluation.subject import Run, data_of, evaluating, find_subject, world_of
from worldmodels.replay.episode import Episode
from worldmodels.replay.files import write_text
from worldmodels.replay.store import EpisodeStore
from worldmodels.viz.plots import error_by_horizon, save_figure
from worldmodels.world_model import WorldModel


class Report(NamedTuple):
    """What ``evaluate`` found. ``str`` gives a text for people.

    Attributes:
        run: what was evaluated.
        actor: what acted: ``planner``, ``policy`` or ``guided planner``; None with recorded
            episodes.
        returns: of the episodes that were played; None with recorded episodes.
        open_loop: errors of predictions by horizon; None for a model-free agent.
        episodes: what was played or read.
    """

    run: str
    actor: str | None
    returns: Returns | None
    open_loop: OpenLoopError | None
    episodes: list[Episode]

    def __str__(self) -> str:
        acts = f"the {self.actor} acts" if self.actor else f"{len(self.episodes)} recorded episodes"
        found = [part for part in (self.returns, self.open_loop) if part is not None]
        return "\n".join([f"{self.run}: {acts}", *map(str, found)])

    __repr__ = __str__

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        found: dict[str, Any] = {"run": self.run}
        if self.returns is not None:
            found |= {"actor": self.actor, **self.returns.as_dict()}
        if self.open_loop is not None:
            found["open_loop"] = self.open_loop.as_dict()
        return found

    def save(self, folder: Path | str) -> list[Path]:
        """Writes ``evaluation.json`` and ``evaluation.png`` (the open-loop errors) into a folder.

        Returns:
            The files that were written.
        """
        folder = Path(folder)
        files = [folder / "evaluation.json"]
        write_text(files[0], json.dumps(self.as_dict(), indent=1))
        if self.open_loop is not None:
            files.append(folder / "evaluation.png")
            save_figure(error_by_horizon(self.open_loop.panels(), self.run), files[1])
        return files


def evaluate(
    run: Run,
    *,
    env: PixelEnv | None = None,
    data: Path | str | EpisodeStore | None = None,
    episodes: int = 10,
    context: int = 5,
    horizon: int = 45,
    sequences: int = 50,
    seed: int = 1000,
    planner: PlannerChoice | None = None,
    policy: bool = False,
) -> Report:
    """Plays a run's agent without exploration, and compares predictions with what happened.

    A policy acts by its mode, which is neither better nor worse than its samples in general. Papers
    that report the returns of training episodes, as DreamerV3's does, report samples.

    Args:
        run: a run folder, what ``train`` returned, or an agent together with ``env`` or ``data``.
        env: where to play, in place of the run's own environment.
        data: predicts the episodes of this data set instead; nothing is played.
        episodes: how many to play.
        context: frames seen before a prediction.
        horizon: predicted steps.
        sequences: predictions to average over.
        seed: of the first episode.
        planner: acts in the place of the run's own actor: a name, class path, YAML file or planner.
        policy: the run's policy acts alone.

    Raises:
        FileNotFoundError: when there is no model or no data set.
        ValueError: when no episode is long enough, or an argument does not fit.

    Example::

        report = wm.evaluate("runs/cart", episodes=20)
        print(report)
        report.returns.mean
    """
    sizes = {"context": context, "horizon": horizon, "sequences": sequences}
    check_at_least("evaluate", 1, episodes=episodes, **sizes)
    if data is not None and (policy or planner is not None):
        raise ValueError("with data nothing is played: leave out planner and policy")
    subject = find_subject(run)
    agent = acting_agent(subject, planner, policy)
    model, actor, returns = subject.agent.world_model, None, None
    with evaluating(subject.agent):
        if data is None:
            with world_of(subject, env) as world:
                returns = evaluate_returns(agent, world, episodes, seed)
            actor, shown = agent.actor.name, returns.episodes
        else:
            shown = list(data_of(subject, data))
        errors = open_loop(model, shown, **sizes) if isinstance(model, WorldModel) else None
    return Report(subject.name, actor, returns, errors, shown)
