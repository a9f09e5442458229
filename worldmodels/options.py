"""jsonargparse as this project uses it: a changed class starts from its own defaults."""

from importlib.metadata import entry_points
from typing import Any

from jsonargparse import ArgumentParser, Namespace, _typehints

PLUGINS = ("worldmodels.encoders", "worldmodels.decoders", "worldmodels.dynamics")


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

    def parse_args(self, *args: Any, **kwargs: Any) -> Namespace:  # type: ignore[override]
        """See ``ArgumentParser.parse_args``."""
        _typehints.discard_init_args_on_class_path_change = _start_afresh
        return super().parse_args(*args, **kwargs)

    def parse_object(self, *args: Any, **kwargs: Any) -> Namespace:  # type: ignore[override]
        """See ``ArgumentParser.parse_object``."""
        _typehints.discard_init_args_on_class_path_change = _start_afresh
        return super().parse_object(*args, **kwargs)


def _start_afresh(parser_or_action: Any, previous: Any, value: Any) -> None:
    if previous and "init_args" in previous and previous["class_path"] != value["class_path"]:
        previous["init_args"] = Namespace()
