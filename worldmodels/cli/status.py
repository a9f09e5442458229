"""What a command is doing, told to a person who waits."""

import sys


def announce(command: str, doing: str) -> None:
    """Says at once what a command does while it imports torch and loads what it needs.

    Only to a terminal, on standard error: what is read by a program stays clean.
    """
    if sys.stderr.isatty():
        print(f"worldmodels {command}: {doing} ...", file=sys.stderr, flush=True)
