"""The console script `worldmodels`: one command for each job."""

import os
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Any

from gymnasium.error import Error as GymnasiumError

from worldmodels.checks import did_you_mean
from worldmodels.cli.status import announce
from worldmodels.nn.memory import keep_freed_memory

COMMANDS = {
    "demo": ("worldmodels.cli.demo:demo", "the main job on a built-in world, in minutes"),
    "fit": ("worldmodels.cli.fit:fit", "train a world model, online or from a data set"),
    "evaluate": ("worldmodels.cli.evaluate:evaluate", "returns and open-loop errors of a run"),
    "compare": ("worldmodels.cli.compare:compare", "planners and policies on a run's model"),
    "imagine": ("worldmodels.cli.imagine:imagine", "a video of what a run's model imagines"),
    "curves": ("worldmodels.cli.curves:curves", "learning curves of runs and their seeds"),
    "collect": ("worldmodels.cli.collect:collect", "record episodes into a data set"),
    "data": ("worldmodels.cli.data:data", "inspect a data set"),
    "check": ("worldmodels.cli.check:check", "an environment, encoder, decoder or dynamics"),
    "bench": ("worldmodels.cli.bench:bench", "the speed and memory of planning"),
    "study": ("worldmodels.cli.study:study", "test a claim by its rule, with statistics"),
}
TRAINING = ("demo", "fit")
"""Their options are those of ``train``, so that Lightning is imported even for ``--help``."""

DEBUG = "WORLDMODELS_DEBUG"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status.

    A user's mistake ends in one line and status 2.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["help"]:
        argv = [*argv[1:2], "--help"]
    if not argv or argv[0] in ("-h", "--help"):
        print(usage(), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"worldmodels {version('worldmodels')}")
        return 0
    if argv[0] not in COMMANDS:
        hint = did_you_mean(argv[0], COMMANDS)
        print(f"worldmodels: unknown command '{argv[0]}': {hint}", file=sys.stderr)
        return 2
    keep_freed_memory()
    # As `python -m` does: the user's own classes beside the project are importable.
    sys.path.insert(0, os.getcwd())
    with warnings.catch_warnings():
        warnings.showwarning = _warn
        return _run(argv[0], argv[1:])


def usage() -> str:
    """The list of commands."""
    lines = [f"  {name:<10}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: worldmodels COMMAND ...   (worldmodels COMMAND --help lists its options)",
            "",
            *lines,
            "",
            "  help, --version",
            "",
            f"A mistake is told in one line; with {DEBUG}=1 in the environment a traceback shows",
            "where it was noticed.",
        ]
    )


def _run(name: str, arguments: list[str]) -> int:
    try:
        _command(name)(arguments)
    except SystemExit as stop:
        # argparse: 0 after --help.
        return int(stop.code or 0)
    except KeyboardInterrupt:
        print(f"worldmodels {name}: interrupted", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ImportError, ArgumentError, GymnasiumError) as error:
        if os.environ.get(DEBUG):
            raise
        # Library messages may begin with the function's name, which is the command's.
        print(f"worldmodels {name}: {_line(error).removeprefix(f'{name}: ')}", file=sys.stderr)
        return 2
    return 0


def _line(error: Exception) -> str:
    """What went wrong, on one line; the system's own errors name the file first."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def _warn(message: Warning | str, *where: Any) -> None:
    # The line of code that noticed it means nothing to the person at the command line.
    print(f"worldmodels: {message}", file=sys.stderr)


def _command(name: str) -> Callable[[list[str]], object]:
    # Imported on use: torch and Lightning take seconds that `worldmodels --help` need not wait.
    if name in TRAINING:
        announce(name, "reading options")
    module, function = COMMANDS[name][0].split(":")
    return getattr(import_module(module), function)
