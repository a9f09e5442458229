"""The command line's smaller verbs: evaluate, imagine, collect, data, check."""

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from rich.console import Console

from worldmodels.agent import Agent, ByPolicy
from worldmodels.behaviours.base import Behaviour
from worldmodels.behaviours.model_free import dreams
from worldmodels.checkpoint import load, read_about
from worldmodels.config import OptionParser
from worldmodels.dynamics.check import check_dynamics
from worldmodels.envs.base import PixelEnv
from worldmodels.envs.check import check_env
from worldmodels.envs.make import make_env
from worldmodels.evaluation import (
    OpenLoopError,
    evaluate_returns,
    imagine_episode,
    open_loop,
)
from worldmodels.evaluation.agents import load_planning
from worldmodels.nn.check import DecoderReport, EncoderReport, check_decoder, check_encoder
from worldmodels.replay.collect import RandomAgent, collect_episodes
from worldmodels.replay.episode import Episode
from worldmodels.replay.inspect import inspect_dataset
from worldmodels.replay.spec import DatasetSpec
from worldmodels.replay.store import EpisodeStore
from worldmodels.types import Policy
from worldmodels.viz.panels import dream_panels
from worldmodels.viz.plots import error_by_horizon, save_figure
from worldmodels.viz.video import check_video_path, write_video

_PLANNER = "act by this planner: its name, or a YAML file with class_path and init_args"


def collect(arguments: Sequence[str]) -> None:
    """Records episodes of a random agent, or of a trained one, into a data set."""
    parser = OptionParser(prog="worldmodels collect", description=collect.__doc__)
    parser.add_argument("--env", type=str, required=True, help="environment id, see make_env")
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--out", type=Path, required=True, help="the data set's folder")
    parser.add_argument("--run", type=str | None, default=None, help="act with this run's agent")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_function_arguments(make_env, skip={"id"})
    options = parser.read(arguments).as_dict()
    job = {name: options.pop(name) for name in ("env", "episodes", "out", "run", "seed")}
    env = make_env(job["env"], **options)
    trained = None if job["run"] is None else load(job["run"])
    agent = RandomAgent(env.action_space) if trained is None else trained
    policy = "random" if trained is None else trained.acting.name
    shown = {k: v for k, v in options.items() if k not in ("num_envs", "action_repeat")}
    store = EpisodeStore(job["out"], DatasetSpec.of(env, shown))
    before = store.episodes
    # A second call into the same folder goes on with other episodes.
    collect_episodes(
        env, agent, job["episodes"], seed=job["seed"] + before, explore=trained is not None,
        policy=policy, round=0, on_episode=store.append,
    )  # fmt: skip
    store.close()
    _print(inspect_dataset(job["out"]).lines())


def data(arguments: Sequence[str]) -> None:
    """`worldmodels data inspect FOLDER`: what a data set holds."""
    parser = OptionParser(prog="worldmodels data", description=data.__doc__)
    parser.add_argument("action", choices=["inspect"])
    parser.add_argument("folder", type=Path)
    _print(inspect_dataset(parser.read(arguments).folder).lines())


def check(arguments: Sequence[str]) -> None:
    """Checks an environment, or the contract of an encoder, decoder or dynamics class."""
    parser = OptionParser(prog="worldmodels check", description=check.__doc__)
    parser.add_argument("kind", choices=list(CHECKS))
    # What follows belongs to the kind.
    CHECKS[parser.read(arguments[:1]).kind](arguments[1:])


def _check_env(arguments: Sequence[str]) -> None:
    parser = OptionParser(prog="worldmodels check env")
    parser.add_argument("id", type=str, help="environment id, see make_env")
    parser.add_function_arguments(make_env, skip={"id"})
    _print(check_env(**parser.read(arguments).as_dict()).lines())


def _check_encoder(arguments: Sequence[str]) -> None:
    cls, shape = _class_and_shape("encoder", arguments)
    _print(_facts(check_encoder(cls, shape)))


def _check_decoder(arguments: Sequence[str]) -> None:
    cls, shape = _class_and_shape("decoder", arguments)
    _print(_facts(check_decoder(cls, shape)))


def _check_dynamics(arguments: Sequence[str]) -> None:
    cls, _ = _class_and_shape("dynamics", arguments)
    _print(check_dynamics(cls).lines())


def _facts(report: EncoderReport | DecoderReport) -> list[str]:
    facts = report._asdict()
    lines = [f"{facts.pop('name')} keeps its contract"]
    return lines + [f"  {name.replace('_', ' '):<13}{value}" for name, value in facts.items()]


CHECKS = {
    "env": _check_env,
    "encoder": _check_encoder,
    "decoder": _check_decoder,
    "dynamics": _check_dynamics,
}


def _class_and_shape(kind: str, arguments: Sequence[str]) -> tuple[type, tuple[int, int, int]]:
    parser = OptionParser(prog=f"worldmodels check {kind}")
    parser.add_argument("cls", type=str, help="package.module.Class")
    parser.add_argument("--obs-shape", type=str, default="3,64,64", help="C,h,w")
    options = parser.read(arguments)
    try:
        channels, height, width = (int(part) for part in options.obs_shape.split(","))
    except ValueError as error:
        raise ValueError(f"--obs-shape {options.obs_shape}: give C,h,w such as 3,96,96") from error
    module, _, name = options.cls.rpartition(".")
    if not module:
        raise ValueError(f"'{options.cls}': give the whole path, package.module.Class")
    try:
        found = getattr(import_module(module), name, None)
    except ImportError as error:
        raise ValueError(f"'{options.cls}': cannot import {module} ({error})") from error
    if not isinstance(found, type):
        raise ValueError(f"'{options.cls}': module {module} has no class {name}")
    return found, (channels, height, width)


def evaluate(arguments: Sequence[str]) -> None:
    """Plays a run's agent, and measures how far its dreams can be trusted, step by step."""
    parser = OptionParser(prog="worldmodels evaluate", description=evaluate.__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--context", type=int, default=5, help="frames seen before a dream")
    parser.add_argument("--horizon", type=int, default=45, help="dreamt steps")
    parser.add_argument("--sequences", type=int, default=50, help="dreams to average over")
    parser.add_argument("--data", type=Path | None, default=None, help="dream from this data set")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--planner", type=str | None, default=None, help=_PLANNER)
    parser.add_argument("--policy", action="store_true", help="act by the run's policy alone")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.read(arguments)
    _check_counts(options, "episodes", "context", "horizon", "sequences")
    agent = _actor_of(options)
    report: dict[str, Any] = {"run": str(options.run)}
    lines: list[str] = []
    if options.data is None:
        env = _env_of(options.run)
        result = evaluate_returns(agent, env, options.episodes, options.seed)
        env.close()
        report |= {"acting": agent.acting.name, **result.as_dict()}
        episodes, lines = result.episodes, result.lines()
    else:
        episodes = list(_data_for(options.run, agent, options.data))
    tables = []
    if dreams(agent.world_model):
        sizes = options.context, options.horizon, options.sequences
        errors = open_loop(agent.world_model, episodes, *sizes)
        _save_errors(errors, options.run)
        report["open_loop"] = errors.as_dict()
        tables.append(errors.table())
    (options.run / "evaluation.json").write_text(json.dumps(report, indent=1))
    if options.json:
        print(json.dumps(report))
        return
    _print(lines)
    for table in tables:
        Console().print(table)
    _print([f"wrote {options.run}/evaluation.json" + " and evaluation.png" * len(tables)])


def _save_errors(errors: OpenLoopError, run: Path) -> None:
    save_figure(error_by_horizon(errors.panels(), str(run)), run / "evaluation.png")


def imagine(arguments: Sequence[str]) -> None:
    """Decodes a run's dream to video, beside what really happened."""
    parser = OptionParser(prog="worldmodels imagine", description=imagine.__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("dream.mp4"), help=".mp4, .gif or .webp")
    parser.add_argument("--context", type=int, default=5, help="frames seen before the dream")
    parser.add_argument("--horizon", type=int, default=45, help="dreamt steps")
    parser.add_argument("--futures", type=int, default=2, help="dreams drawn from the same state")
    parser.add_argument("--start", type=int, default=0, help="first row of the episode")
    parser.add_argument("--data", type=Path | None, default=None, help="dream a recorded episode")
    parser.add_argument("--episode", type=int, default=0, help="which one of the data set")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--planner", type=str | None, default=None, help=_PLANNER)
    parser.add_argument("--policy", action="store_true", help="let it act in the dream")
    options = parser.read(arguments)
    _check_counts(options, "context", "horizon", "futures")
    check_video_path(options.out)
    agent, about = _agent_of(options.run, options.planner), read_about(options.run)
    policy = _policy_of(options.run, agent) if options.policy else None
    if options.data is None:
        env = _env_of(options.run)
        played = evaluate_returns(agent, env, 1, options.seed).episodes
        episode, frame_rate = played[0], env.frame_rate
        env.close()
    else:
        store = _data_for(options.run, agent, options.data)
        episode, frame_rate = _recorded(store, options.episode), store.spec.frame_rate
    dream = imagine_episode(
        agent.world_model,
        episode,
        options.context,
        options.horizon,
        options.futures,
        options.start,
        options.seed,
        policy,
    )
    frames = dream_panels(dream, title=about["env"]["id"])
    write_video(options.out, frames, frame_rate)
    _print([f"wrote {options.out}: {len(frames)} frames at {frame_rate:g} per second"])


def _check_counts(options: Namespace, *names: str) -> None:
    # Here and not only where they are used: an agent would play its episodes first.
    for name in names:
        if options[name] < 1:
            raise ValueError(f"--{name}={options[name]}: choose 1 or more")


def _data_for(run: Path, agent: Agent, folder: Path) -> EpisodeStore:
    """A data set that the run's model can look at."""
    store, model = EpisodeStore(folder), agent.world_model
    given = (store.spec.obs_shape, store.spec.action_space)
    if given != (model.obs_shape, model.action_space):
        raise ValueError(
            f"{folder} has frames {given[0]} and {given[1]}, {run} was trained on "
            f"{model.obs_shape} and {model.action_space}: choose data of the same kind"
        )
    return store


def _recorded(store: EpisodeStore, index: int) -> Episode:
    if not 0 <= index < len(store.records):
        raise ValueError(
            f"--episode {index}: {store.directory} holds episodes 0 to {len(store.records) - 1}"
        )
    episode = store.read(store.records[index])
    if episode is None:
        raise ValueError(f"episode {index} of {store.directory} is damaged: choose another one")
    return episode


def _agent_of(run: Path, planner: str | None) -> Agent:
    return load(run) if planner is None else load_planning(run, planner)


def _actor_of(options: Namespace) -> Agent:
    run, planner = options.run, options.planner
    if options.policy and planner is not None:
        raise ValueError(f"--policy and --planner {planner}: only one can act, leave out the other")
    if options.data is not None and (options.policy or planner is not None):
        raise ValueError("with --data nobody acts: leave out --planner and --policy")
    agent = _agent_of(run, planner)
    if options.policy:
        _behaviour_of(run, agent)
        agent.acting = ByPolicy()
    return agent


def _policy_of(run: Path, agent: Agent) -> Policy:
    """The mode of the run's policy, as a function of features."""
    behaviour = _behaviour_of(run, agent)
    return lambda feature: behaviour.policy(feature).mode()


def _behaviour_of(run: Path, agent: Agent) -> Behaviour:
    if agent.behaviour is None:
        raise ValueError(f"--policy: {run} learned no policy; leave it out, or train with a recipe")
    return agent.behaviour


def _env_of(run: Path) -> PixelEnv:
    return make_env(**read_about(run)["env"])


def _print(lines: Sequence[str]) -> None:
    for line in lines:
        Console().print(line, highlight=False, soft_wrap=True)
