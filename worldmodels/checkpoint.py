"""A trained agent as a folder: safetensors weights and a JSON that rebuilds everything.

``model/{model.json, weights.safetensors}``. The JSON holds class paths and their arguments, so
loading imports classes and reads tensors; no pickle is executed.
"""

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from worldmodels.agent import Agent
from worldmodels.behaviours.base import Behaviour
from worldmodels.behaviours.critic import Critic
from worldmodels.config import OptionParser, explain, load_plugins
from worldmodels.nn.backbones import weights_follow
from worldmodels.planning.base import Planner
from worldmodels.planning.cem import CEM
from worldmodels.planning.mpc import MPC, Guide
from worldmodels.replay.files import write_bytes, write_text
from worldmodels.types import ActionSpace, ObsShape, describe
from worldmodels.world_model import LatentModel, WorldModel

FORMAT = 2
BEHAVIOUR = "behaviour."
SPACES = ("obs_shape", "action_space")


def build_agent(
    obs_shape: ObsShape,
    action_space: ActionSpace,
    model: Callable[[ObsShape, ActionSpace], LatentModel] = WorldModel,
    behaviour: Callable[[int, ActionSpace], Behaviour] | None = None,
    planner: Callable[[ActionSpace], Planner] | None = None,
    mpc: Callable[[Planner, Guide | None], MPC] = MPC,
    noise: float = 0.3,
) -> Agent:
    """An untrained agent from its parts.

    A behaviour alone acts by its policy, a planner alone plans; a planner beside a behaviour plans
    with the behaviour's value at its horizon and its policy among the candidates. With neither,
    CEM plans.

    Args:
        obs_shape: ``(C, h, w)`` of the frames.
        action_space: what an action is.
        model: the world model.
        behaviour: what learns inside the model, called with its feature size.
        planner: the optimiser over action sequences.
        mpc: when to replan, and by what plans are scored.
        noise: exploration noise while collecting.
    """
    world_model = model(obs_shape, action_space)
    learned = None if behaviour is None else behaviour(world_model.feature_dim, action_space)
    if learned is not None and planner is None:
        return Agent(world_model, learned, noise)
    search = (CEM if planner is None else planner)(action_space)
    return Agent(world_model, mpc(search, learned), noise)


def agent_parser() -> OptionParser:
    """The parser of an agent's own options (all of ``build_agent`` but the two spaces)."""
    load_plugins()
    parser = OptionParser()
    parser.add_function_arguments(build_agent, skip=set(SPACES), fail_untyped=False)
    return parser


def describe_agent(agent: Agent) -> dict[str, Any]:
    """The options of ``build_agent`` that make an agent like this one, as plain data.

    Raises:
        ValueError: when a part cannot be named in a configuration, such as a lambda, or cannot be
            rebuilt from its name.
    """
    actor, behaviour = agent.actor, agent.behaviour
    if isinstance(actor, MPC) and actor.guide is not behaviour:
        kind = type(actor.guide).__name__
        raise ValueError(f"guide {kind} cannot be saved: give a Behaviour, or no guide")
    if not isinstance(actor, MPC) and behaviour is None:
        raise ValueError(f"actor {type(actor).__name__} cannot be saved: give a Behaviour, or MPC")
    options: dict[str, Any] = {"model": describe(agent.world_model, SPACES), "noise": agent.noise}
    if behaviour is not None:
        options["behaviour"] = describe(behaviour, ("feature_dim", "action_space"))
    if isinstance(actor, MPC):
        options["planner"] = describe(actor.planner, ("action_space",))
        options["mpc"] = describe(actor, ("planner", "guide"))
    _check_loads(json.dumps(options))
    return options


@lru_cache(maxsize=4)
def _check_loads(options: str) -> None:
    """Refuses to save what could not be loaded, such as a function without annotations."""
    try:
        agent_parser().parse_object(json.loads(options))
    except ArgumentError as error:
        raise ValueError(f"this agent cannot be saved: {explain(error)}") from error


def save_agent(folder: Path | str, agent: Agent, env: dict[str, Any]) -> None:
    """Writes the weights, then the JSON, each whole or not at all.

    Args:
        folder: the ``model/`` folder.
        agent: the trained agent.
        env: the arguments of ``make_env`` that show this agent its world.

    Raises:
        ValueError: when a part cannot be named in a configuration, such as a lambda.
    """
    folder = Path(folder)
    about = {
        "format": FORMAT,
        "obs_shape": list(agent.world_model.obs_shape),
        "action_space": agent.world_model.action_space._asdict(),
        "agent": describe_agent(agent),
        "env": env,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "weights.safetensors", save(_weights(agent)))
    write_text(folder / "model.json", json.dumps(about, indent=1))


def read_about(run: Path | str) -> dict[str, Any]:
    """What ``model.json`` of a run (or of a model folder itself) says.

    Raises:
        FileNotFoundError: when there is no model.
        ValueError: when it is none of ours, or another version's.
    """
    file = _model_folder(run) / "model.json"
    try:
        about = json.loads(file.read_text())
        found = int(about["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is not a model of worldmodels ({error!r})") from error
    if found > FORMAT:
        raise ValueError(
            f"{file} has format {found}, this version reads {FORMAT}: update worldmodels"
        )
    if found < FORMAT:
        raise ValueError(
            f"{file} has format {found}, this version reads {FORMAT}: load it with the commit "
            "that wrote it (`git` in run.json; format 1 ends at 7e4570b), or train it again"
        )
    about["env"]["size"] = tuple(about["env"].get("size", (64, 64)))
    return about


def load(run: Path | str, device: torch.device | str = "cpu", **overrides: Any) -> Agent:
    """Rebuilds a trained agent that acts on frames.

    Args:
        run: a run folder, or its ``model/`` folder.
        device: where to put it.
        **overrides: options of ``build_agent`` to change, as class path, class or mapping
            (``planner="worldmodels.planning.MPPI"``). A mapping, or the name of the run's own
            class, leaves the other options as the run has them.

    Raises:
        FileNotFoundError: when there is no model.
        ValueError: when a class of the model cannot be imported, the weights are damaged, or an
            override does not fit.
    """
    about = read_about(run)
    parser = agent_parser()
    try:
        parsed = parser.parse_object(about["agent"])
        if overrides:
            parsed = parser.parse_object(overrides, namespace=parsed)
        parts = parser.instantiate(parsed)
    except ArgumentError as error:
        raise ValueError(f"cannot rebuild the agent of {run}: {explain(error)}") from error
    space = ActionSpace(**about["action_space"])
    with weights_follow():
        agent = build_agent(tuple(about["obs_shape"]), space, **parts)
    weights = _read_weights(run)
    try:
        _load_weights(agent, weights)
    except RuntimeError as error:
        raise ValueError(
            f"the weights of {run} are not those of its classes, which have changed since: train "
            f"it again, or use the version that did ({' '.join(str(error).split())})"
        ) from error
    return agent.to(device).eval()


def load_pretrained_world_model(run: Path | str, model: LatentModel) -> None:
    """Gives a model that is built alike the weights of a run's, and freezes them.

    A part that the run's model lacks, such as the decoder that is to be trained on it, keeps its
    own weights and learns.

    Raises:
        FileNotFoundError: when there is no model.
        ValueError: when the run's model sees other frames or other actions, or is built
            differently.
    """
    about = read_about(run)
    own = model.obs_shape, model.action_space
    of_run = tuple(about["obs_shape"]), ActionSpace(**about["action_space"])
    if own != of_run:
        raise ValueError(
            f"world_model={run} sees {of_run[0]} and acts by {of_run[1]}, this job has "
            f"{own[0]} and {own[1]}: give the environment or data that it was trained on"
        )
    weights, known = _read_weights(run), model.state_dict()
    _check_built_alike(run, weights, known)
    model.load_state_dict({name: weights.get(name, own) for name, own in known.items()})
    for name, parameter in model.named_parameters():
        if name in weights:
            parameter.requires_grad_(False)


def _check_built_alike(
    run: Path | str, weights: dict[str, Tensor], known: dict[str, Tensor]
) -> None:
    """Refuses weights of other classes or sizes; decoder and terms may be missing on a side."""
    for name in sorted(weights.keys() | known.keys()):
        optional = name.startswith((BEHAVIOUR, "decoder.", "terms."))
        if optional and not (name in weights and name in known):
            continue
        shapes = [tuple(w[name].shape) if name in w else "missing" for w in (weights, known)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"world_model={run} is built differently ({name}: {shapes[0]} there, {shapes[1]} "
                "here): give this model the options of that run's config.yaml"
            )


def load_pretrained_critic(run: Path | str, behaviour: Behaviour | None) -> None:
    """Gives a behaviour the critic of a run's behaviour, and freezes it.

    Raises:
        FileNotFoundError: when there is no model.
        ValueError: when one of the two has no critic, or they are built differently.
    """
    critic = getattr(behaviour, "critic", None)
    if not isinstance(critic, Critic):
        kind = "no behaviour" if behaviour is None else type(behaviour).__name__
        raise ValueError(f"freeze_critic: {kind} has no critic: choose ActorCritic or Distillation")
    prefix = BEHAVIOUR + "critic."
    weights = _read_weights(run)
    found = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    if not found:
        raise ValueError(f"freeze_critic: {run} has no critic: give a run of ActorCritic")
    try:
        critic.load_state_dict(found)
    except RuntimeError as error:
        raise ValueError(
            f"freeze_critic: the critic of {run} is built differently: give this behaviour the "
            "same hidden and layers"
        ) from error
    critic.requires_grad_(False)


def _weights(agent: Agent) -> dict[str, Tensor]:
    """The world model's weights under their own names, the behaviour's under a prefix."""
    weights = dict(agent.world_model.state_dict())
    if agent.behaviour is not None:
        weights |= agent.behaviour.state_dict(prefix=BEHAVIOUR)
    return {name: tensor.contiguous() for name, tensor in weights.items()}


def _read_weights(run: Path | str) -> dict[str, Tensor]:
    file = _model_folder(run) / "weights.safetensors"
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged ({error}): copy or train it again") from error


def _load_weights(agent: Agent, weights: dict[str, Tensor]) -> None:
    learned = {name: weights.pop(name) for name in list(weights) if name.startswith(BEHAVIOUR)}
    agent.world_model.load_state_dict(weights)
    if agent.behaviour is not None:
        plain = {name.removeprefix(BEHAVIOUR): tensor for name, tensor in learned.items()}
        agent.behaviour.load_state_dict(plain)


def _model_folder(run: Path | str) -> Path:
    for folder in (Path(run) / "model", Path(run)):
        if (folder / "model.json").exists():
            return folder
    raise FileNotFoundError(f"no trained model in {run}: expected {Path(run)}/model/model.json")
