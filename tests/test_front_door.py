"""`import worldmodels`: every name, at once, and without torch until one is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import worldmodels


def alone(program):
    """What a program prints in a process of its own."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_front_door_alone_imports_neither_torch_nor_lightning():
    heavy = "{'torch', 'lightning', 'matplotlib'} & set(sys.modules)"
    assert alone(f"import sys, worldmodels; dir(worldmodels); print({heavy})") == "set()"


def test_the_built_in_worlds_are_registered():
    assert (
        alone(
            "import worldmodels, gymnasium; print('worldmodels/CliffHill-v0' in gymnasium.registry)"
        )
        == "True"
    )


@pytest.mark.parametrize("name", worldmodels.__all__)
def test_every_name_is_what_it_says(name):
    found = getattr(worldmodels, name)
    assert found.__name__ == name
    assert name in dir(worldmodels)


def test_a_name_stays_itself_when_rooms_are_imported():
    import worldmodels.evaluation
    import worldmodels.evaluation.evaluate
    from worldmodels.evaluation.evaluate import Report, evaluate

    assert worldmodels.evaluate is evaluate is worldmodels.evaluation.evaluate
    assert Report.__module__ == "worldmodels.evaluation.evaluate"
    assert callable(worldmodels.imagine)
    assert callable(worldmodels.compare)


def test_an_unknown_name_suggests_a_known_one():
    with pytest.raises(AttributeError, match=r"has no attribute 'WorldModle': did you mean World"):
        worldmodels.WorldModle  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Dreamer'"):
        from worldmodels import Dreamer  # noqa: F401
    with pytest.raises(AttributeError, match=r"has no attribute '_x'$"):
        worldmodels._x  # noqa: B018


def test_type_checkers_see_the_names_that_exist():
    tree = ast.parse(Path(worldmodels.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in block.body for alias in node.names}
    assert seen == set(worldmodels.__all__)
