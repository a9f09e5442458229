"""Recording episodes into a data set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worldmodels.checks import check_at_least
from worldmodels.envs.make import make_env
from worldmodels.evaluation.subject import Run, find_subject
from worldmodels.replay.collect import RandomAgent, collect_episodes
from worldmodels.replay.inspect import DatasetReport, inspect_dataset
from worldmodels.replay.spec import DatasetSpec
from worldmodels.replay.store import EpisodeStore


def record(
    env: str,
    out: Path | str,
    *,
    episodes: int = 10,
    run: Run | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> DatasetReport:
    """Records episodes of a random agent, or of a trained one that explores, into a data set.

    A second call into the same folder goes on with other episodes.

    Args:
        env: the environment's id.
        out: the data set's folder.
        episodes: how many to add.
        run: acts; a random agent does when None.
        seed: of the first episode.
        options: further arguments of ``make_env``.

    Raises:
        FileNotFoundError: when ``run`` holds no model.
        ValueError: when there is no such environment, or the folder holds another one's episodes.
    """
    check_at_least("collect", 1, episodes=episodes)
    options = dict(options or {})
    trained = None if run is None else find_subject(run).agent
    world = make_env(env, **options)
    agent = RandomAgent(world.action_space) if trained is None else trained
    policy = "random" if trained is None else trained.actor.name
    # How many copies play changes nothing about what is recorded.
    shown = {k: v for k, v in options.items() if k not in ("num_envs", "action_repeat")}
    store = EpisodeStore(out, DatasetSpec.of(world, shown))
    try:
        collect_episodes(
            world, agent, episodes, seed=seed + store.episodes, explore=trained is not None,
            policy=policy, round=0, on_episode=store.append,
        )  # fmt: skip
    finally:
        store.close()
        world.close()
    return inspect_dataset(out)
