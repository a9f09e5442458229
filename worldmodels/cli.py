"""The console script `worldmodels`: one verb per job."""

import os
import sys
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from importlib import import_module

from gymnasium.error import Error as GymnasiumError

VERBS = {
    "demo": ("worldmodels.training.demo:demo", "the main job on a built-in world, in minutes"),
    "fit": ("worldmodels.training.fit:main", "train a world model, online or from a data set"),
    "evaluate": ("worldmodels.verbs:evaluate", "returns and open-loop errors of a run"),
    "imagine": ("worldmodels.verbs:imagine", "decode a dream of a run to video"),
    "collect": ("worldmodels.verbs:collect", "record episodes into a data set"),
    "data": ("worldmodels.verbs:data", "inspect a data set"),
    "check": ("worldmodels.verbs:check", "check an environment, encoder, decoder or dynamics"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb.

    A user's mistake ends in one line and exit status 2; ``WORLDMODELS_DEBUG=1`` shows where it
    came from.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0
    if argv[0] not in VERBS:
        print(f"worldmodels: unknown verb '{argv[0]}': choose one of {', '.join(VERBS)}")
        return 2
    # As `python -m` does: the user's own classes beside the project are importable.
    sys.path.insert(0, os.getcwd())
    try:
        _verb(argv[0])(argv[1:])
    except SystemExit as stop:
        # argparse: 0 after --help, 2 after printing what was wrong.
        return int(stop.code or 0)
    except (ValueError, TypeError, OSError, ImportError, ArgumentError, GymnasiumError) as error:
        if os.environ.get("WORLDMODELS_DEBUG"):
            raise
        print(f"worldmodels {argv[0]}: {error}", file=sys.stderr)
        return 2
    return 0


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
