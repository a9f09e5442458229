"""`worldmodels check`: does an environment or a class of one's own keep its contract?"""

from collections.abc import Sequence
from importlib import import_module

from worldmodels.cli.status import announce
from worldmodels.config import OptionParser


def check(arguments: Sequence[str]) -> None:
    """Checks an environment, or the contract of an encoder, decoder or dynamics class."""
    parser = OptionParser(prog="worldmodels check", description=check.__doc__)
    parser.add_argument("kind", choices=list(CHECKS))
    # What follows belongs to the kind.
    CHECKS[parser.read(arguments[:1]).kind](arguments[1:])


def _check_env(arguments: Sequence[str]) -> None:
    announce("check", "reading options")
    # Imported on use: the first line above need not wait for torch.
    from worldmodels.envs.check import check_env
    from worldmodels.envs.make import make_env

    parser = OptionParser(prog="worldmodels check env")
    parser.add_argument("id", type=str, help="environment id, see make_env")
    parser.add_function_arguments(make_env, skip={"id"})
    print("\n".join(check_env(**parser.read(arguments).as_dict()).lines()))


def _check_encoder(arguments: Sequence[str]) -> None:
    path, shape = _options("encoder", arguments)
    from worldmodels.nn.check import check_encoder

    print("\n".join(_facts(check_encoder(_imported(path), shape)._asdict())))


def _check_decoder(arguments: Sequence[str]) -> None:
    path, shape = _options("decoder", arguments)
    from worldmodels.nn.check import check_decoder

    print("\n".join(_facts(check_decoder(_imported(path), shape)._asdict())))


def _check_dynamics(arguments: Sequence[str]) -> None:
    path, _ = _options("dynamics", arguments)
    from worldmodels.dynamics.check import check_dynamics

    print("\n".join(check_dynamics(_imported(path)).lines()))


CHECKS = {
    "env": _check_env,
    "encoder": _check_encoder,
    "decoder": _check_decoder,
    "dynamics": _check_dynamics,
}


def _options(kind: str, arguments: Sequence[str]) -> tuple[str, tuple[int, int, int]]:
    """The class's path and the frames' shape."""
    parser = OptionParser(prog=f"worldmodels check {kind}")
    parser.add_argument("cls", type=str, help="package.module.Class")
    parser.add_argument("--obs-shape", type=str, default="3,64,64", help="C,h,w")
    options = parser.read(arguments)
    try:
        channels, height, width = (int(part) for part in options.obs_shape.split(","))
    except ValueError as error:
        raise ValueError(f"--obs-shape {options.obs_shape}: give C,h,w such as 3,96,96") from error
    announce("check", f"building {options.cls}")
    return options.cls, (channels, height, width)


def _imported(path: str) -> type:
    module, _, name = path.rpartition(".")
    if not module:
        raise ValueError(f"'{path}': give the whole path, package.module.Class")
    try:
        found = getattr(import_module(module), name, None)
    except ImportError as error:
        raise ValueError(f"'{path}': cannot import {module} ({error})") from error
    if not isinstance(found, type):
        raise ValueError(f"'{path}': module {module} has no class {name}")
    return found


def _facts(report: dict[str, object]) -> list[str]:
    lines = [f"{report.pop('name')} keeps its contract"]
    return lines + [f"  {name.replace('_', ' '):<13}{value}" for name, value in report.items()]
