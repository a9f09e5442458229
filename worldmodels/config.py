"""Configuration: recipes by name, and jsonargparse with one-line errors.

Naming another class starts afresh: the options of the class before do not carry over.
"""

import inspect
import pkgutil
import re
from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace, _typehints

from worldmodels.checks import did_you_mean

CONFIGS = next(
    folder
    # In an installed package the recipes lie inside it, in a checkout beside it.
    for folder in (Path(__file__).parent / "configs", Path(__file__).parent.parent / "configs")
    if folder.is_dir() or folder.parent != Path(__file__).parent
)
KINDS = ("model", "recipe", "size", "env")
"""Folders of ``CONFIGS``, in the order in which their files are merged."""

PLUGINS = ("worldmodels.encoders", "worldmodels.decoders", "worldmodels.dynamics")

_KEY = re.compile(r'Parser key "([^"]+)":')
_UNION = re.compile(r"Subtypes: \[(.*?)\]\n.*?Given value: (.*?)(?:\. Got value: |\n|$)", re.DOTALL)
# What an option inside a union must be; and one that its class does not have, with that class.
_EXPECTED = re.compile(r"Expected a (.+?)\. Got value: .+?\. Got value: Namespace\(class_path=")
_REFUSED = re.compile(r"Option '([\w.]+)' is not accepted\. Got value: (Namespace\(class_path=.*)")
_NESTED = re.compile(r"NestedArg\(key='([\w.]+)', val='?(.*?)'?\)$")
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
        """Parses a command line; ``--config`` takes files and the names of shipped recipes.

        Files merge by kind (model, recipe, size, environment, then the user's own), whatever
        their order; the other options win over all of them.

        Raises:
            ValueError: in one line that names the option, its value and what it takes.
            FileNotFoundError: when there is no such recipe.
        """
        files, rest = split_configs(arguments)
        configs = [argument for file in files for argument in ("--config", _content(file))]
        try:
            return self.parse_args([*configs, *self._with_flags(rest)])
        except ArgumentError as error:
            known = [name.removeprefix("--") for name in self._option_string_actions]
            raise ValueError(explain(error, known)) from error

    def _with_flags(self, arguments: Sequence[str]) -> list[str]:
        """A true-or-false option without a value, such as ``--resume``, is true."""
        flags = {
            name
            for name, action in self._option_string_actions.items()
            if getattr(action, "_typehint", None) is bool
        }
        given = []
        for argument, following in pairwise([*arguments, "--"]):
            bare = argument in flags and following.startswith("--")
            given += [argument, "true"] if bare else [argument]
        return given

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
        nested = _NESTED.match(union[2])
        if nested is not None:
            name, option = f"{key}.{nested[1]}", f"--{key}.{nested[1]}={nested[2]}"
            refused = _REFUSED.search(text, union.start())
            if refused is not None:
                owner = name.rpartition(".")[0]
                return _suggest(name, [f"{owner}.{known}" for known in _options_of(refused[2])])
            expected = _EXPECTED.search(text, union.start())
            if expected is not None:
                return f"{option}: expected {_plain(expected[1])}"
            return f"{option}: whose option? Name the class as well: --{key} CLASS {option}"
        if f"dot import path string: {union[2]}\n" in text:
            return f"--{key}: expected package.module.Class, not {union[2]}"
        return f"--{key}={union[2]}: give one of {_types(union[1])}"
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


def split_configs(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The files that ``--config`` names, in the order of merging, and the other arguments."""
    files, rest = [], []
    left = iter(arguments)
    for argument in left:
        name, _, value = argument.partition("=")
        if name != "--config":
            rest.append(argument)
            continue
        files.append(find_config(value or next(left, "")))
    files.sort(key=_rank)
    bases = [base for file in files for base in _bases(file, (file,))]
    return [*dict.fromkeys(bases), *files], rest


def find_config(name: str, beside: Path = Path()) -> Path:
    """A configuration file by its path, or a shipped one by its name (``dreamer``, ``cartswing``).

    Args:
        name: a path from here or from ``beside``, or a name.
        beside: another folder to look in.

    Raises:
        FileNotFoundError: when there is none.
    """
    for file in (Path(name), beside / name):
        if file.is_file():
            return file
    shipped = {file.stem: file for file in sorted(CONFIGS.rglob("*.yaml"))}
    if name not in shipped:
        raise FileNotFoundError(
            f"--config {name}: no such file or recipe: {did_you_mean(name, shipped)}"
        )
    return shipped[name]


def _rank(file: Path) -> int:
    kind = file.parent.name
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def _bases(file: Path, above: tuple[Path, ...]) -> list[Path]:
    """The files that a file builds on, and those that they build on before them."""
    named = _loaded(file).get("base", [])
    found = []
    for name in [named] if isinstance(named, str) else named:
        base = find_config(name, file.parent)
        if base in above:
            raise ValueError(f"{file}: base={name} builds on this file itself: remove one of them")
        found += [*_bases(base, (*above, base)), base]
    return found


def _content(file: Path) -> str:
    """The file's options as YAML text, without the names of what it builds on."""
    return yaml.safe_dump({k: v for k, v in _loaded(file).items() if k != "base"})


def _loaded(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        where = " ".join(str(error).replace('in "<unicode string>", ', "").split())
        raise ValueError(f"{file} is no YAML: {where}") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ValueError(f"{file}: expected options as `name: value`, found {found!r}")
    return found


def _types(union: str) -> str:
    """The types of a union by their bare names; a factory by what it makes."""
    made = re.sub(r"collections\.abc\.Callable\[\[[^\]]*\], ([\w.]+)\]", r"\1", _plain(union))
    return re.sub(r"\b(?:\w+\.)+(?=[A-Z])", "", made)


def _plain(types: str) -> str:
    """Types as people write them, on one line."""
    types = types.replace("<class 'NoneType'>", "null")
    return " ".join(re.sub(r"<class '(?:\w+\.)*(\w+)'>|typing\.", r"\1", types).split())


def _suggest(name: str, known: Iterable[str]) -> str:
    return f"unknown option --{name}: {did_you_mean(name, known, 'see --help', prefix='--')}"


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
