"""Checks a plugged-in encoder or decoder against its contract, in seconds.

Used by ``worldmodels check encoder pkg.Class`` and by nothing at run time. The first broken rule
is reported as one line that says what is wrong and how to fix it.
"""

import copy
import inspect
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.nn.decoders import Decoder
from worldmodels.nn.encoders import Encoder
from worldmodels.types import ObsShape

# What wrong shapes, types and names raise inside somebody else's module.
_USER_ERRORS = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError)
_MIXED_DEVICES = ("expected device", "same device", "two devices")
_LEADING_AXES = ((), (3,), (2, 3))
_TIMED_BATCH = 16


class ContractError(ValueError):
    """A plugged-in module breaks its contract."""


class EncoderReport(NamedTuple):
    """What a sound encoder looks like: sizes, and the time for 16 x 64 images forward."""

    name: str
    obs_shape: ObsShape
    embed_dim: int
    parameters: int
    trainable: int
    devices: tuple[str, ...]
    milliseconds: float


class DecoderReport(NamedTuple):
    """What a sound decoder looks like: sizes, and the time for 16 x 64 images forward."""

    name: str
    obs_shape: ObsShape
    feature_dim: int
    parameters: int
    trainable: int
    devices: tuple[str, ...]
    milliseconds: float


def check_encoder(cls: type, obs_shape: ObsShape) -> EncoderReport:
    """Builds ``cls(obs_shape)`` and tries every rule of ``Encoder``.

    Raises:
        ContractError: names the first broken rule and the fix.
    """
    module = _build(cls, Encoder, {"obs_shape": obs_shape})
    embed_dim = getattr(module, "embed_dim", None)
    if isinstance(embed_dim, bool) or not isinstance(embed_dim, int) or embed_dim < 1:
        raise ContractError(
            f"{cls.__name__}.embed_dim is {embed_dim!r}: set self.embed_dim to the size of one "
            "embedding, an int, in __init__"
        )
    devices, milliseconds = _check_module(module, obs_shape, (embed_dim,))
    counts = _count_parameters(module)
    return EncoderReport(cls.__name__, obs_shape, embed_dim, *counts, devices, milliseconds)


def check_decoder(cls: type, obs_shape: ObsShape, feature_dim: int = 230) -> DecoderReport:
    """Builds ``cls(feature_dim, obs_shape)`` and tries every rule of ``Decoder``.

    Raises:
        ContractError: names the first broken rule and the fix.
    """
    module = _build(cls, Decoder, {"feature_dim": feature_dim, "obs_shape": obs_shape})
    devices, milliseconds = _check_module(module, (feature_dim,), obs_shape)
    counts = _count_parameters(module)
    return DecoderReport(cls.__name__, obs_shape, feature_dim, *counts, devices, milliseconds)


def _build(cls: type, base: type, arguments: dict[str, Any]) -> nn.Module:
    """The module, built from its leading positional arguments alone."""
    if not (inspect.isclass(cls) and issubclass(cls, base)):
        name = getattr(cls, "__name__", repr(cls))
        raise ContractError(f"{name} is not a subclass of {base.__name__}: derive it from {base}")
    if inspect.isabstract(cls):
        raise ContractError(f"{cls.__name__} is abstract: define its forward method")
    parameters = list(inspect.signature(cls).parameters.values())
    names = [parameter.name for parameter in parameters[: len(arguments)]]
    if names != list(arguments):
        raise ContractError(
            f"{cls.__name__}.__init__ starts with ({', '.join(names)}): "
            f"its first arguments must be ({', '.join(arguments)})"
        )
    for parameter in parameters[len(arguments) :]:
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if parameter.default is parameter.empty and not variadic:
            raise ContractError(
                f"{cls.__name__}.__init__ has no default for {parameter.name!r}: give it one"
            )
    values = ", ".join(str(value) for value in arguments.values())
    return _attempt(f"{cls.__name__}({values})", lambda: cls(*arguments.values()))


def _check_module(
    module: nn.Module, inputs: tuple[int, ...], outputs: tuple[int, ...]
) -> tuple[tuple[str, ...], float]:
    """Every rule that encoders and decoders share; the devices and milliseconds for the report."""
    _check_outputs(module, inputs, outputs)
    _check_gradients(module, inputs)
    _check_batch_independence(module, inputs)
    devices = _check_devices(module, inputs)
    return devices, _milliseconds(module, inputs)


def _check_outputs(module: nn.Module, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
    for leading in _LEADING_AXES:
        output = _forward(module, _probe((*leading, *inputs)))
        name = f"{type(module).__name__}.forward on leading axes {leading}"
        if output.shape != (*leading, *outputs):
            raise ContractError(
                f"{name} returned shape {tuple(output.shape)}: return {(*leading, *outputs)}"
            )
        if output.dtype != torch.float32:
            raise ContractError(f"{name} returned {output.dtype}: return torch.float32")
        if not output.isfinite().all():
            raise ContractError(
                f"{name} returned non-finite numbers for inputs in [-0.5, 0.5]: "
                "look for a division, log or uninitialised weight"
            )


def _check_gradients(module: nn.Module, inputs: tuple[int, ...]) -> None:
    module.zero_grad()
    trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
    output = _forward(module, _probe((4, *inputs)))
    if len(_leaves(output) - set(trainable.values())) > 0:
        raise ContractError(
            f"{type(module).__name__} computes with weights it does not own, so no optimiser will "
            "see them: keep layers in nn.ModuleList or nn.ModuleDict, and tensors in nn.Parameter"
        )
    if output.requires_grad:
        # Uneven weights: a plain sum is blind behind a final normalisation.
        (output * torch.linspace(-1, 1, output.numel()).reshape(output.shape)).sum().backward()
    for name, parameter in trainable.items():
        if parameter.grad is None:
            raise ContractError(
                f"{type(module).__name__}: no gradient reaches {name}: use it in forward without "
                "detach or no_grad, or set requires_grad_(False)"
            )
        if not parameter.grad.isfinite().all():
            raise ContractError(
                f"{type(module).__name__}: the gradient of {name} is not finite: look for a sqrt, "
                "norm or division at 0"
            )
    module.zero_grad()


def _leaves(output: Tensor) -> set[Tensor]:
    """The tensors with ``requires_grad`` that ``output`` was computed from."""
    leaves, seen, todo = set(), set(), [output.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            leaves.add(leaf)
        todo.extend(parent for parent, _ in node.next_functions)
    return leaves


def _check_batch_independence(module: nn.Module, inputs: tuple[int, ...]) -> None:
    module.eval()
    batch = _probe((4, *inputs))
    with torch.no_grad():
        together = _forward(module, batch)
        again = _forward(module, batch)
        alone = torch.stack([_forward(module, row) for row in batch])
    module.train()
    name = type(module).__name__
    tolerance = 1e-3 * float(together.abs().max()) + 1e-6
    if not torch.allclose(together, again, rtol=0, atol=tolerance):
        raise ContractError(
            f"{name} in eval mode answers the same input differently twice: "
            "draw no random numbers there"
        )
    if not torch.allclose(together, alone, rtol=0, atol=tolerance):
        raise ContractError(
            f"{name} in eval mode lets rows of a batch influence each other: "
            "normalise over channels or pixels (layer or group norm), not over the batch"
        )


def _check_devices(module: nn.Module, inputs: tuple[int, ...]) -> tuple[str, ...]:
    """Forward after a move to the accelerator at hand, and to the meta device anywhere."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is not None:
        _forward_on(module, accelerator, inputs)
        module.to("cpu")
    # A copy, because a move to the meta device drops the weights.
    replica = _attempt(f"copy.deepcopy({type(module).__name__})", lambda: copy.deepcopy(module))
    _forward_on(replica, torch.device("meta"), inputs)
    return ("cpu",) if accelerator is None else ("cpu", accelerator.type)


def _forward_on(module: nn.Module, device: torch.device, inputs: tuple[int, ...]) -> None:
    module.to(device)
    try:
        module(_probe((2, *inputs)).to(device))
    except _USER_ERRORS as error:
        # Meta tensors have no values: a module that looks at them fails there and is none the
        # worse for it. Only a mix of devices counts.
        if device.type == "meta" and not any(sign in str(error) for sign in _MIXED_DEVICES):
            return
        raise ContractError(
            f"{type(module).__name__} does not follow a move to another device ({device.type}: "
            f"{_first_line(error)}): register tensors with register_buffer, and create others "
            "with device=input.device"
        ) from error


def _milliseconds(module: nn.Module, inputs: tuple[int, ...]) -> float:
    """Time for 16 x 64 images, scaled up from the best of three small batches."""
    batch = _probe((_TIMED_BATCH, *inputs))
    best = float("inf")
    with torch.no_grad():
        for _ in range(3):
            start = time.perf_counter()
            module(batch)
            best = min(best, time.perf_counter() - start)
    return best * 1000 * (16 * 64 / _TIMED_BATCH)


def _forward(module: nn.Module, x: Tensor) -> Tensor:
    name = f"{type(module).__name__}.forward"
    output = _attempt(f"{name} on an input of shape {tuple(x.shape)}", lambda: module(x))
    if not isinstance(output, Tensor):
        raise ContractError(f"{name} returned {type(output).__name__}: return one tensor")
    return output


def _attempt(what: str, action: Callable[[], Any]) -> Any:
    """Runs somebody else's code; its errors become one line (the cause stays attached)."""
    try:
        return action()
    except _USER_ERRORS as error:
        raise ContractError(
            f"{what} raised {type(error).__name__}: {_first_line(error)}"
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200]


def _probe(shape: tuple[int, ...]) -> Float[Tensor, "..."]:
    """Reproducible inputs in [-0.5, 0.5], without touching the global generator."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 0.5


def _count_parameters(module: nn.Module) -> tuple[int, int]:
    """All parameters, and the trainable ones."""
    parameters = list(module.parameters())
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    return sum(p.numel() for p in parameters), sum(p.numel() for p in trainable)
