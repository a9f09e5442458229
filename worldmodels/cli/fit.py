"""`worldmodels fit`: train a world model, and what decides in it, online or from a data set."""

from collections.abc import Sequence
from pathlib import Path

import lightning as L
from jsonargparse import ActionConfigFile, Namespace  # pyright: ignore[reportPrivateImportUsage]

from worldmodels.agent import Agent
from worldmodels.checkpoint import SPACES, build_agent, load, read_about
from worldmodels.config import OptionParser, load_plugins
from worldmodels.envs.base import PixelEnv
from worldmodels.envs.make import make_env
from worldmodels.replay.spec import read_spec
from worldmodels.training.run import Run
from worldmodels.training.train import train

AGENT = ("model", "behaviour", "planner", "mpc", "noise")


def fit_parser(prog: str = "worldmodels fit") -> OptionParser:
    """Every option of ``fit``: the arguments of ``train``, the agent's parts, the environment."""
    load_plugins()
    parser = OptionParser(prog=prog, description=__doc__)
    told = "a recipe, size or environment by name, or a YAML file; give several to merge them"
    parser.add_argument("--config", action=ActionConfigFile, help=told)
    parser.add_function_arguments(train, skip={"agent", "env", "callbacks"})
    parser.add_argument("--env.id", type=str | None, default=None, help="the environment's id")
    parser.add_function_arguments(make_env, "env", skip={"id"})
    parser.add_function_arguments(build_agent, skip=set(SPACES), fail_untyped=False)
    return parser


def fit(arguments: Sequence[str], callbacks: Sequence[L.Callback] = ()) -> Run:
    """Trains as the command line says.

    Args:
        arguments: ``["--config", "planet", "--config", "cliffhill", "--name", "hill"]``.
        callbacks: further Lightning callbacks.

    Raises:
        ValueError: when an option does not fit.
        FileNotFoundError: when a recipe, run or data set does not exist.
    """
    parser = fit_parser()
    options = parser.read(arguments)
    if options.world_model is not None:
        # A recipe's sizes give way to those of the model that is there.
        trained = read_about(options.world_model)["agent"]["model"]
        options = parser.parse_object({"model": trained}, namespace=options)
    parts = parser.instantiate(options)
    L.seed_everything(options.seed, verbose=False)
    env = None if options.env.id is None else make_env(**options.env.as_dict())
    try:
        agent = _agent(options, parts, env)
        rest = {k: v for k, v in parts.as_dict().items() if k not in (*AGENT, "env", "config")}
        return train(agent, env, **rest, callbacks=callbacks)
    finally:
        if env is not None:
            env.close()


def _agent(options: Namespace, parts: Namespace, env: PixelEnv | None) -> Agent:
    if options.only is not None:
        if options.world_model is None:
            raise ValueError(
                "--only decoder trains a decoder for --world_model RUN: give that, too"
            )
        return load(options.world_model)
    if env is None and options.data is None:
        raise ValueError("give --env.id to learn online, or --data to learn from recorded episodes")
    shown = read_spec(Path(options.data)) if env is None else env
    return build_agent(shown.obs_shape, shown.action_space, **{name: parts[name] for name in AGENT})
