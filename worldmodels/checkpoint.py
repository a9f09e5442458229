"""A trained agent as a folder: safetensors weights and a JSON that rebuilds everything.

``model/{model.json, weights.safetensors}``. The JSON holds class paths and their arguments, so
loading imports classes and reads tensors; no pickle is executed.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from worldmodels.agent import Acting, Agent
from worldmodels.behaviours.base import Behaviour
from worldmodels.behaviours.critic import Critic
from worldmodels.config import OptionParser, explain, load_plugins
from worldmodels.nn.backbones import weights_follow
from worldmodels.planning.base import Planner
from worldmodels.planning.cem import CEM
from worldmodels.planning.mpc import MPC
from worldmodels.types import ActionSpace, ObsShape
from worldmodels.world_model import WorldModel

FORMAT = 1
BEHAVIOUR = "behaviour."


def build_agent(
    obs_shape: ObsShape,
    action_space: ActionSpace,
    model: Callable[[ObsShape, ActionSpace], WorldModel] = WorldModel,
    planner: Callable[[ActionSpace], Planner] = CEM,
    controller: Callable[[Planner], MPC] = MPC,
    noise: float = 0.3,
    behaviour: Callable[[int, ActionSpace], Behaviour] | None = None,
    acting: Callable[[], Acting] | None = None,
) -> Agent:
    """An untrained agent from its parts.

    Args:
        obs_shape: ``(C, h, w)`` of the frames.
        action_space: what an action is.
        model: the world model.
        planner: the optimiser over action sequences.
        controller: when to replan.
        noise: exploration noise while collecting.
        behaviour: what learns inside the model, called with its feature size.
        acting: who decides; when None, the behaviour where there is one, else the planner.
    """
    world_model = model(obs_shape, action_space)
    learned = behaviour and behaviour(world_model.dynamics.feature_dim, action_space)
    decides = acting and acting()
    return Agent(world_model, controller(planner(action_space)), noise, learned, decides)


def agent_parser() -> OptionParser:
    """The parser of an agent's own options (all of ``build_agent`` but the two spaces)."""
    load_plugins()
    parser = OptionParser()
    parser.add_function_arguments(
        build_agent, skip={"obs_shape", "action_space"}, fail_untyped=False
    )
    return parser


def save_agent(
    folder: Path | str, agent: Agent, options: dict[str, Any], env: dict[str, Any]
) -> None:
    """Writes the weights, then the JSON, each whole or not at all.

    Args:
        folder: the ``model/`` folder.
        agent: the trained agent.
        options: what ``agent_parser`` parsed, as plain data.
        env: the arguments of ``make_env`` that show this agent its world.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_weights(agent), folder / "weights.tmp")
    (folder / "weights.tmp").replace(folder / "weights.safetensors")
    about = {
        "format": FORMAT,
        "obs_shape": list(agent.world_model.obs_shape),
        "action_space": agent.world_model.action_space._asdict(),
        "agent": options,
        "env": env,
    }
    (folder / "model.tmp").write_text(json.dumps(about, indent=1))
    (folder / "model.tmp").replace(folder / "model.json")


def read_about(run: Path | str) -> dict[str, Any]:
    """What ``model.json`` of a run (or of a model folder itself) says.

    Raises:
        FileNotFoundError: when there is no model.
        ValueError: when it is none of ours, or was written by a newer version.
    """
    file = _model_folder(run) / "model.json"
    try:
        about = json.loads(file.read_text())
        newer = about["format"] > FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is not a model of worldmodels ({error!r})") from error
    if newer:
        raise ValueError(
            f"{file} has format {about['format']}, this version reads {FORMAT}: update worldmodels"
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
    weights = _read_weights(_model_folder(run) / "weights.safetensors")
    try:
        _load_weights(agent, weights)
    except RuntimeError as error:
        raise ValueError(
            f"the weights of {run} are not those of its classes, which have changed since: train "
            f"it again, or use the version that did ({' '.join(str(error).split())})"
        ) from error
    return agent.to(device).eval()


def load_pretrained_world_model(run: Path | str, world_model: WorldModel) -> None:
    """Gives a model that is built alike the weights of a run's, and fixes them for good.

    Raises:
        FileNotFoundError: when there is no model.
        ValueError: when the run's model sees other frames or other actions.
    """
    about = read_about(run)
    own = world_model.obs_shape, world_model.action_space
    of_run = tuple(about["obs_shape"]), ActionSpace(**about["action_space"])
    if own != of_run:
        raise ValueError(
            f"world_model={run} sees {of_run[0]} and acts by {of_run[1]}, this job has "
            f"{own[0]} and {own[1]}: give the environment or data that it was trained on"
        )
    weights = _read_weights(_model_folder(run) / "weights.safetensors")
    world_model.load_state_dict(
        {name: tensor for name, tensor in weights.items() if not name.startswith(BEHAVIOUR)}
    )
    world_model.requires_grad_(False)


def load_pretrained_critic(run: Path | str, behaviour: Behaviour | None) -> None:
    """Gives a behaviour the critic of a run's behaviour, and fixes it for good.

    Raises:
        FileNotFoundError: when there is no model.
        ValueError: when one of the two has no critic, or they are built differently.
    """
    critic = getattr(behaviour, "critic", None)
    if not isinstance(critic, Critic):
        kind = "no behaviour" if behaviour is None else type(behaviour).__name__
        raise ValueError(f"freeze_critic: {kind} has no critic: choose ActorCritic or Distillation")
    prefix = BEHAVIOUR + "critic."
    weights = _read_weights(_model_folder(run) / "weights.safetensors")
    found = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    if not found:
        raise ValueError(f"freeze_critic: {run} has no critic: give a run of ActorCritic")
    try:
        critic.load_state_dict(found)
    except RuntimeError as error:
        raise ValueError(
            f"freeze_critic: the critic of {run} is built differently: give this behaviour the same "
            "hidden and layers"
        ) from error
    critic.requires_grad_(False)


def _weights(agent: Agent) -> dict[str, Tensor]:
    """The world model's weights under their own names, the behaviour's under a prefix."""
    weights = dict(agent.world_model.state_dict())
    if agent.behaviour is not None:
        weights |= agent.behaviour.state_dict(prefix=BEHAVIOUR)
    return {name: tensor.contiguous() for name, tensor in weights.items()}


def _read_weights(file: Path) -> dict[str, Tensor]:
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
