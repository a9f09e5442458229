"""jsonargparse as this project uses it: a changed class starts afresh, a mistake is one line."""

import inspect
import pkgutil
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib.metadata import entry_points
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace, _typehints

PLUGINS = ("worldmodels.encoders", "worldmodels.decoders", "worldmodels.dynamics")

_KEY = re.compile(r'Parser key "([^"]+)":')
_UNION = re.compile(r"Subtypes: \[(.*?)\]\n.*?Given value: (.*?)(?:\. Got value: |\n|$)", re.DOTALL)
_UNKNOWN = re.compile(
    r"(?:unrecognized arguments: --|(?:Group '([\w.]+)' does not accept o|O)ption ')([\w.-]+)"
)


def load_plugins() -> None:
    """Imports the classes that installed packages offer, so that their bare names are options.

    A package offers one under ``[project.entry-points."worldmodels.encoders"]``, as
    ``vit = "my_lab.nets:ViT"``; ``--model.encoder ViT`` then finds it.
    """
    for group in PLUGINS:
        for offered in entry_points(group=group):
            offered.load()


class OptionParser(ArgumentParser):
    """An ``ArgumentParser`` in which naming another class drops the options of the one before.

    jsonargparse itself hands options of the same name on to the new class: ``--planner ICEM``
    would search with CEM's candidates, ``--model.encoder my_lab.nets.ViT`` with ConvEncoder's
    depth.
    """

    def __init__(
        self, *args: Any, allow_abbrev: bool = False, exit_on_error: bool = False, **kwargs: Any
    ):
        # Half of an option's name is a mistake, and `read` tells of every mistake.
        super().__init__(*args, allow_abbrev=allow_abbrev, exit_on_error=exit_on_error, **kwargs)

    def read(self, arguments: Sequence[str]) -> Namespace:
        """Parses a command line.

        Raises:
            ValueError: in one line that names the option, its value and what it takes.
        """
        try:
            return self.parse_args(list(arguments))
        except ArgumentError as error:
            known = [name.removeprefix("--") for name in self._option_string_actions]
            told = explain(error, known)
            raise ValueError(_broken_config(arguments) or told) from error

    def parse_args(self, *args: Any, **kwargs: Any) -> Namespace:  # type: ignore[override]
        """See ``ArgumentParser.parse_args``."""
        _typehints.discard_init_args_on_class_path_change = _start_afresh
        return super().parse_args(*args, **kwargs)

    def parse_object(self, *args: Any, **kwargs: Any) -> Namespace:  # type: ignore[override]
        """See ``ArgumentParser.parse_object``."""
        _typehints.discard_init_args_on_class_path_change = _start_afresh
        return super().parse_object(*args, **kwargs)


def explain(error: ArgumentError, known: Iterable[str] = ()) -> str:
    """A mistake in one line.

    jsonargparse tells of every level on the way to it, each with all of its options; the innermost
    level is the mistake itself.

    Args:
        error: what the parser raised.
        known: the parser's options, to suggest one in place of an unknown one.
    """
    text = str(error)
    union = _UNION.search(text)
    levels = _KEY.split(text[: union.start()] if union else text)
    key = ".".join(levels[1::2])
    if union is not None:
        return f"--{key}={union[2]}: give one of {_plain(union[1])}"
    reason, _, rest = levels[-1].strip().partition(". Got value: ")
    value = rest.partition(". Got value: ")[0]
    unknown = _UNKNOWN.search(reason)
    if unknown is not None:
        name = ".".join(part for part in (key, unknown[1], unknown[2]) if part)
        return _suggest(name, [f"{key}.{option}" for option in _options_of(value)] or known)
    if not key:
        return _plain(reason)
    reason = _plain(reason.rpartition("callable class: ")[2]).replace("Expected a ", "expected ")
    reason = reason.replace("dot import path string: ", "package.module.Class, not ")
    given = f"={value}" if value and "Namespace(" not in value else ""
    return f"--{key}{given}: {reason}"


def _broken_config(arguments: Sequence[str]) -> str | None:
    """Which of the configuration files is no YAML, and where: jsonargparse names no file."""
    for name, value in pairwise([*arguments, ""]):
        given = value if name == "--config" else name.partition("--config=")[2]
        if not Path(given).is_file():
            continue
        try:
            yaml.safe_load(Path(given).read_text())
        except yaml.YAMLError as error:
            where = " ".join(str(error).replace('in "<unicode string>", ', "").split())
            return f"{given} is no YAML: {where}"
    return None


def _plain(types: str) -> str:
    """Types as people write them, on one line."""
    types = types.replace("<class 'NoneType'>", "null")
    return " ".join(re.sub(r"<class '(?:\w+\.)*(\w+)'>|typing\.", r"\1", types).split())


def _suggest(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), 1)
    hint = f"did you mean --{close[0]}?" if close else "see --help"
    return f"unknown option --{name}: {hint}"


def _options_of(value: str) -> list[str]:
    """What the class inside a printed namespace takes; nothing where there is none."""
    paths = re.findall(r"class_path='([\w.]+)'", value)
    if not paths:
        return []
    # Its own path comes first or last; those between are its parts'.
    path = paths[0 if value.startswith("Namespace(class_path=") else -1]
    return list(inspect.signature(pkgutil.resolve_name(path)).parameters)


def _start_afresh(parser_or_action: Any, previous: Any, value: Any) -> None:
    if previous and "init_args" in previous and previous["class_path"] != value["class_path"]:
        previous["init_args"] = Namespace()
