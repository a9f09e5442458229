"""The shared vocabulary: axis letters, the one time convention, and the values that travel.

Axes (used in every shape string of the project)::

    B  batch               C h w  image channels, height, width
    T  time                E      embedding of one frame
    N  candidates,         F      feature of a latent state (what heads read)
       start states        A      action (dimension, or one-hot over choices)
    H  horizon             S K    a stack of S categorical latents with K classes

Time convention (arrival). Index t holds the action that *led to* frame t, frame t itself, and
the reward received *on arrival* at frame t::

    t          0            1            2           ...   T-1
    action     0            a_0 -> o_1   a_1 -> o_2
    obs        o_0          o_1          o_2
    reward     0            r(o_0,a_0)   r(o_1,a_1)
    is_first   1            0            0
    is_terminal 0           0            0                 1 if the MDP ended here
                                                           (a time limit is not terminal)

An episode of T actions therefore has T + 1 rows. Nothing shifts by one outside ``replay/`` and
``behaviours/transitions.py``.
"""

import inspect
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pkgutil import resolve_name
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

ObsShape = tuple[int, int, int]
"""Image shape ``(C, h, w)``."""

State = Any
"""A latent state: a NamedTuple of tensors that share their leading axes (see ``dynamics/``)."""


class ActionSpace(NamedTuple):
    """What an action is: ``dim`` numbers in [-1, 1], or one of ``dim`` choices as a one-hot."""

    dim: int
    discrete: bool


class Batch(NamedTuple):
    """A batch of sequences in the arrival convention (see the module docstring).

    ``obs`` are bytes 0..255 until ``WorldModel.encode``; ``action`` is in [-1, 1], or one-hot for
    discrete actions, and 0 where ``is_first``.
    """

    obs: UInt8[Tensor, "B T C h w"]
    action: Float[Tensor, "B T A"]
    reward: Float[Tensor, "B T"]
    is_first: Bool[Tensor, "B T"]
    is_terminal: Bool[Tensor, "B T"]

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on ``device``."""
        return Batch(*(field.to(device, non_blocking=True) for field in self))

    def counted(self, burn_in: int) -> Bool[Tensor, "B T"]:
        """The rows whose state has seen ``burn_in`` rows before it, or its episode's beginning.

        A sequence that begins within an episode lacks the frames before it.
        """
        row = torch.arange(self.is_first.shape[1], device=self.is_first.device)  # T
        return (self.is_first.cumsum(1) > 0) | (row >= burn_in)  # B T


class Losses(NamedTuple):
    """One trainable part's loss: ``total`` is differentiable, ``metrics`` are detached."""

    total: Float[Tensor, ""]
    metrics: dict[str, Tensor]


class Trajectory(NamedTuple):
    """An imagined sequence of N rollouts over H steps, under a policy or under given actions.

    ``feature[:, 0]`` belongs to the start state. ``action[:, k]`` leads from ``feature[:, k]`` to
    ``feature[:, k + 1]``, where ``reward[:, k]`` and ``discount[:, k]`` (gamma times the predicted
    probability of continuing) are predicted. ``start`` has rows N; ``states`` are the latent states
    after each action, with leading axes N H.
    """

    feature: Float[Tensor, "N H+1 F"]
    action: Float[Tensor, "N H A"]
    reward: Float[Tensor, "N H"]
    discount: Float[Tensor, "N H"]
    start: State
    states: State


ScoreFn = Callable[[State, Tensor], Tensor]
"""Predicted return of candidate plans from latent states with rows B:
``(state, [B, N, H, A]) -> [B, N]``, higher is better."""

Policy = Callable[[Tensor], Tensor]
"""Latent features to actions: ``[*batch, F] -> [*batch, A]``."""

Value = Callable[[Tensor], Tensor]
"""Latent features to the expected discounted return from there: ``[*batch, F] -> [*batch]``."""


@runtime_checkable
class Distribution(Protocol):
    """What a stochastic head returns."""

    def sample(self) -> Tensor:
        """A reparameterised or straight-through sample."""
        ...

    def mode(self) -> Tensor:
        """The most likely value."""
        ...

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability (density) of ``value``, event axes summed."""
        ...

    def entropy(self) -> Tensor:
        """Entropy, event axes summed."""
        ...


class Configurable:
    """Remembers the arguments of its constructor, so that an object can be saved and rebuilt.

    ``describe`` turns an object, a class or a ``functools.partial`` of one into plain data:
    ``{"class_path": ..., "init_args": {...}}``, the form that configuration files have.
    """

    init_args: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any):
        """Makes the object and notes what its constructor is called with."""
        self = super().__new__(cls)
        self.__dict__["init_args"] = _arguments(cls, self, args, kwargs)
        return self


def _arguments(
    cls: type, made: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The arguments of a constructor by their names."""
    signature = inspect.signature(cls.__init__)
    try:
        # Copies are made without arguments.
        given = signature.bind_partial(made, *args, **kwargs).arguments
    except TypeError:
        return {}  # the constructor itself tells what is wrong
    named = dict(list(given.items())[1:])
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            named |= named.pop(name, {})
    return named


def describe(thing: Any, skip: Collection[str] = ()) -> Any:
    """Plain data (for JSON or YAML) from which a configured object can be rebuilt.

    Args:
        thing: a ``Configurable`` object, a class, a function of a module, a partial of these, or
            plain data; sequences and mappings of these.
        skip: constructor arguments that whoever rebuilds the object supplies.

    Raises:
        ValueError: for something that no configuration can name, such as a lambda.
    """
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, Configurable):
        return _described(type(thing), thing.init_args, skip)
    if isinstance(thing, partial):
        # A partial that jsonargparse made holds the class as its last positional argument.
        return _described(thing.args[-1] if thing.args else thing.func, thing.keywords, skip)
    if isinstance(thing, type) or callable(thing):
        return _described(thing, {}, skip)
    if isinstance(thing, Mapping):
        return {str(name): describe(value) for name, value in thing.items()}
    if isinstance(thing, Sequence):
        return [describe(value) for value in thing]
    raise ValueError(f"{_short(thing)} cannot be saved: give a class, or plain data")


def _described(
    thing: Any, arguments: Mapping[str, Any], skip: Collection[str]
) -> dict[str, Any] | str:
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    try:
        found = resolve_name(f"{module}:{name}")
    except (ValueError, ImportError, AttributeError):
        found = None  # a lambda, or defined inside a function
    if found is not thing:
        raise ValueError(
            f"{_short(thing)} cannot be saved: give an importable class or function, or "
            "functools.partial of one"
        )
    path, given = (
        f"{module}.{name}",
        {k: describe(v) for k, v in arguments.items() if k not in skip},
    )
    if not given and not isinstance(thing, type):
        return path  # the function itself; as a class path it would be called
    return {"class_path": path} | ({"init_args": given} if given else {})


def _short(thing: Any) -> str:
    return textwrap.shorten(repr(thing), 100)
