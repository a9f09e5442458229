"""The console script `worldmodels`: one verb per job."""

import os
import sys
import warnings
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from gymnasium.error import Error as GymnasiumError

from worldmodels.nn.memory import keep_freed_memory

VERBS = {
    "demo": ("worldmodels.training.demo:demo", "the main job on a built-in world, in minutes"),
    "fit": ("worldmodels.training.fit:main", "train a world model, online or from a data set"),
    "evaluate": ("worldmodels.verbs:evaluate", "returns and open-loop errors of a run"),
    "compare": (
        "worldmodels.planner_verbs:compare_planners",
        "every planner and policy on a run's model",
    ),
    "bench": ("worldmodels.planner_verbs:bench", "the speed and memory of planning"),
    "imagine": ("worldmodels.verbs:imagine", "decode a dream of a run to video"),
    "curves": ("worldmodels.curves:curves", "learning curves of runs and their seeds"),
    "collect": ("worldmodels.verbs:collect", "record episodes into a data set"),
    "data": ("worldmodels.verbs:data", "inspect a data set"),
    "check": ("worldmodels.verbs:check", "check an environment, encoder, decoder or dynamics"),
    "study": ("worldmodels.studies.verb:main", "test a claim by its rule, with statistics"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb.

    A user's mistake ends in one line and exit status 2; ``WORLDMODELS_DEBUG=1`` shows where it
    came from.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(usage(), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    if argv[0] not in VERBS:
        close = get_close_matches(argv[0], VERBS, 1)
        hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(VERBS)}"
        print(f"worldmodels: unknown verb '{argv[0]}': {hint}", file=sys.stderr)
        return 2
    keep_freed_memory()
    # As `python -m` does: the user's own classes beside the project are importable.
    sys.path.insert(0, os.getcwd())
    with warnings.catch_warnings():
        warnings.showwarning = _warn
        return _run(argv[0], argv[1:])


def _run(verb: str, arguments: list[str]) -> int:
    try:
        _verb(verb)(arguments)
    except SystemExit as stop:
        # argparse: 0 after --help.
        return int(stop.code or 0)
    except (ValueError, TypeError, OSError, ImportError, ArgumentError, GymnasiumError) as error:
        if os.environ.get("WORLDMODELS_DEBUG"):
            raise
        print(f"worldmodels {verb}: {_line(error)}", file=sys.stderr)
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


def usage() -> str:
    """The list of verbs."""
    lines = ["usage: worldmodels VERB ...   (worldmodels VERB --help tells its options)", ""]
    return "\n".join(lines + [f"  {verb:<10}{text}" for verb, (_, text) in VERBS.items()])


def _verb(name: str) -> Callable[[list[str]], object]:
    # Imported on use: torch and Lightning take seconds that `worldmodels --help` need not wait.
    module, function = VERBS[name][0].split(":")
    return getattr(import_module(module), function)


if __name__ == "__main__":
    sys.exit(main())
