"""One clear line for a number that does not fit."""


def check_at_least(owner: str, least: int | float, **numbers: int | float) -> None:
    """Refuses numbers below ``least``.

    Raises:
        ValueError: naming the owner, the number, its value and the fix.
    """
    for name, value in numbers.items():
        if not value >= least:
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
