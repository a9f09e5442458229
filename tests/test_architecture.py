"""The house rules that a machine can check: who imports whom, and how long things get."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "worldmodels"
FILES = sorted(PACKAGE.rglob("*.py"))

# Each room and the rooms it may import from (its own is always allowed).
ROOMS = {
    "types": set(),
    "envs": {"types"},
    "replay": {"types", "envs"},
    "nn": {"types"},
    "viz": {"types"},
    "planning": {"types"},
    "dynamics": {"types", "nn"},
    "rollout": {"types"},
    "precision": set(),
    "memory": set(),
    "world_model": {"types", "nn", "dynamics", "rollout"},
    "objectives": {"types", "nn", "dynamics", "rollout", "world_model"},
    "options": set(),
    "behaviours": {
        "types", "nn", "dynamics", "rollout", "world_model", "objectives", "planning",
    },
    "agent": {
        "types", "nn", "dynamics", "world_model", "objectives", "planning", "behaviours",
        "precision", "rollout",
    },
    "model_folder": {
        "types", "nn", "dynamics", "world_model", "planning", "behaviours", "agent", "options",
        "objectives",
    },
    "evaluation": {
        "types", "nn", "dynamics", "world_model", "planning", "behaviours", "agent", "envs",
        "objectives", "replay", "viz", "model_folder", "precision",
        "rollout", "memory",
    },
    "training": {
        "types", "nn", "dynamics", "world_model", "planning", "behaviours", "agent", "envs",
        "objectives", "replay", "viz", "model_folder", "options", "evaluation",
    },
    "studies": {
        "types", "nn", "dynamics", "world_model", "planning", "behaviours", "agent", "envs",
        "objectives", "replay", "viz", "model_folder", "options", "evaluation", "training",
    },
    "verbs": {
        "types", "nn", "dynamics", "world_model", "planning", "behaviours", "agent", "envs",
        "objectives", "replay", "viz", "model_folder", "options", "evaluation", "training",
    },
    "planner_verbs": {
        "types", "nn", "dynamics", "world_model", "planning", "behaviours", "agent", "envs",
        "replay", "viz", "model_folder", "options", "evaluation",
    },
    "curves": {"options", "training", "viz"},
    "cli": {"verbs", "planner_verbs", "curves", "training", "studies", "memory"},
    "__init__": {"model_folder", "envs"},
}  # fmt: skip
PURE = {
    "nn", "dynamics", "planning", "rollout", "world_model", "objectives", "types", "behaviours",
}  # fmt: skip
FRAMEWORKS = {"lightning", "gymnasium", "wandb", "tensorboard", "ale_py", "dm_control"}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_import_downwards_only(path):
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("worldmodels.")}
    assert ours - {room(path)} <= ROOMS[room(path)]


@pytest.mark.parametrize("path", [p for p in FILES if room(p) in PURE], ids=lambda p: p.stem)
def test_models_know_no_framework(path):
    assert not {name.split(".")[0] for name in imports(path)} & FRAMEWORKS


def test_files_stay_under_300_lines_and_functions_under_40():
    for path in FILES:
        text = path.read_text()
        assert text.count("\n") <= 300, f"{path} is too long"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                doc = ast.get_docstring(node)
                body = node.end_lineno - node.lineno + 1 - (doc.count("\n") + 1 if doc else 0)
                assert body <= 40, f"{path}:{node.lineno} {node.name} has {body} lines"


def test_the_reader_of_this_test_would_notice_a_violation(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import lightning\nfrom worldmodels.training import fit\n")
    assert imports(wrong) == {"lightning", "worldmodels.training"}


def test_tracked_text_names_no_registry_host():
    hosts = ["python" + "hosted", "pypi" + ".org", "registry.npm" + "js"]
    for path in [*ROOT.glob("*.lock"), ROOT / "pyproject.toml", ROOT / "Makefile"]:
        assert not any(host in path.read_text() for host in hosts)
