"""One clear line for an argument that does not fit."""

from collections.abc import Iterable
from difflib import get_close_matches


def check_at_least(owner: str, least: int | float, **numbers: int | float | None) -> None:
    """Refuses numbers below ``least``; None, for an argument that was not given, passes.

    Raises:
        ValueError: naming the owner, the number, its value and the fix.
    """
    for name, value in numbers.items():
        if value is not None and not value >= least:
            raise ValueError(f"{owner}: {name}={value}: choose {least} or more")


def check_above(owner: str, bound: int | float, **numbers: int | float) -> None:
    """Refuses numbers at or below ``bound``.

    Raises:
        ValueError: naming the owner, the number, its value and the fix.
    """
    for name, value in numbers.items():
        if not value > bound:
            raise ValueError(f"{owner}: {name}={value}: choose a number above {bound}")


def check_at_most(owner: str, limit_name: str, limit: int | float, **numbers: int | float) -> None:
    """Refuses numbers above another argument.

    Raises:
        ValueError: naming the owner, both arguments, their values and the fix.
    """
    for name, value in numbers.items():
        if not value <= limit:
            raise ValueError(
                f"{owner}: {name}={value} exceeds {limit_name}={limit}: choose {limit} or less"
            )


def check_share(owner: str, **numbers: int | float) -> None:
    """Refuses numbers outside [0, 1).

    Raises:
        ValueError: naming the owner, the number, its value and the fix.
    """
    for name, value in numbers.items():
        if not 0 <= value < 1:
            raise ValueError(f"{owner}: {name}={value}: choose at least 0 and below 1")


def check_between(
    owner: str, least: int | float, most: int | float, **numbers: int | float
) -> None:
    """Refuses numbers below ``least`` or above ``most``.

    Raises:
        ValueError: naming the owner, the number, its value and the fix.
    """
    for name, value in numbers.items():
        if not least <= value <= most:
            raise ValueError(f"{owner}: {name}={value}: choose {least} to {most}")


def did_you_mean(
    name: str, known: Iterable[str], choose: str | None = None, most: int = 1, prefix: str = ""
) -> str:
    """The second half of an error message about an unknown name.

    Names that contain the given one come first (shortest first, so that "CartPole" finds
    "CartPole-v1"), then those that are spelled alike; upper and lower case are the same.

    Args:
        name: what was given.
        known: what exists.
        choose: the hint when nothing is close; None lists all known names.
        most: names to suggest at the most.
        prefix: put before each suggestion, such as ``--`` of an option.
    """
    names = {one.lower(): one for one in known}
    # Newest version first among names of equal length; one or two letters are in everything.
    containing = [one for one in names if len(name) > 2 and name.lower() in one]
    containing.sort(reverse=True)
    containing.sort(key=len)
    close = containing or get_close_matches(name.lower(), names, most)
    if close:
        return f"did you mean {', '.join(prefix + names[one] for one in close[:most])}?"
    return choose or f"choose one of {', '.join(prefix + one for one in names.values())}"
