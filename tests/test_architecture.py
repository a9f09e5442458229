"""The house rules that a machine can check: who imports whom, and how long things get."""

import ast
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "worldmodels"
FILES = sorted(PACKAGE.rglob("*.py"))

# From bottom to top: a room may import from the rooms before it.
ORDER = (
    "types", "checks", "envs", "replay", "nn", "viz", "dynamics", "losses", "world_model",
    "planning", "behaviours", "agent", "config", "checkpoint", "evaluation", "training", "studies",
    "cli",
)  # fmt: skip
# The front door may open every room but the laboratory.
FRONT_DOOR = "__init__"
LOOSE = {"types", "world_model", "agent", "checkpoint", "config", "checks"}
PURE = {
    "types", "checks", "nn", "dynamics", "losses", "world_model", "planning", "behaviours", "agent",
}  # fmt: skip
FRAMEWORKS = {
    "lightning", "gymnasium", "wandb", "tensorboard", "ale_py", "dm_control", "rich", "matplotlib",
}  # fmt: skip
FILE, FUNCTION, P90 = 400, 60, 20


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def imports(path: Path) -> set[str]:
    """Every module that a file imports; `from worldmodels import x` counts as `worldmodels.x`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "worldmodels":
                names |= {f"worldmodels.{alias.name}" for alias in node.names}
            else:
                names.add(node.module or "")
    return names


def rooms_of(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("worldmodels.")}


def allowed(own: str) -> set[str]:
    if own == FRONT_DOOR:
        return set(ORDER) - {"studies", "cli"}
    # Nothing outside the laboratory reads it, but the command that runs it.
    below = set(ORDER[: ORDER.index(own) + 1])
    return below if own in ("studies", "cli") else below - {"studies"}


def code_lines(function: ast.FunctionDef, source: list[str]) -> int:
    """Lines of a function without its docstring, blank lines and comments."""
    body = function.body
    document = body[0] if ast.get_docstring(function) else None
    skipped = set(range(document.lineno, document.end_lineno + 1)) if document else set()
    lines = range(function.lineno, function.end_lineno + 1)
    plain = (source[n - 1].strip() for n in lines if n not in skipped)
    return sum(bool(line) and not line.startswith("#") for line in plain)


def functions(text: str) -> dict[str, int]:
    """Lengths of all functions of a file in code lines, by their line and name."""
    source = text.splitlines()
    return {
        f"{node.lineno} {node.name}": code_lines(node, source)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
    }


def test_the_top_of_the_package_has_only_the_six_loose_modules():
    loose = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert loose <= LOOSE, f"move {sorted(loose - LOOSE)} into rooms"
    rooms = {room(path) for path in FILES} - {"__init__", "__main__"}
    assert rooms <= set(ORDER), f"{sorted(rooms - set(ORDER))} have no place in the order"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_rooms_import_downwards_only(path):
    upwards = rooms_of(imports(path)) - allowed(room(path))
    assert not upwards, f"{name_of(path)} imports {sorted(upwards)} from above"


@pytest.mark.parametrize("path", [p for p in FILES if room(p) in PURE], ids=name_of)
def test_models_know_no_framework(path):
    assert not {name.split(".")[0] for name in imports(path)} & FRAMEWORKS


@pytest.mark.parametrize("path", [p for p in FILES if room(p) != "cli"], ids=name_of)
def test_nobody_outside_the_laboratory_reads_it(path):
    if room(path) != "studies":
        assert "studies" not in rooms_of(imports(path))


def test_files_and_functions_stay_short():
    long = []
    for path in FILES:
        text = path.read_text()
        if text.count("\n") > FILE:
            long.append(f"{name_of(path)}: {text.count(chr(10))} lines of {FILE}")
        long += [
            f"{name_of(path)}:{name} has {lines} code lines of {FUNCTION}"
            for name, lines in functions(text).items()
            if lines > FUNCTION
        ]
    assert not long, "\n".join(long)


def test_nine_of_ten_functions_are_read_at_a_glance():
    lengths = [n for path in FILES for n in functions(path.read_text()).values()]
    deciles = statistics.quantiles(lengths, n=10)
    print(f"code lines per function: p50 {deciles[4]:g}, p90 {deciles[8]:g}, max {max(lengths)}")
    assert deciles[8] <= P90


def test_the_reader_of_this_test_would_notice_a_violation(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import lightning\nfrom worldmodels.training import train\n"
        "from worldmodels import studies\n"
    )
    found = imports(wrong)
    assert found == {"lightning", "worldmodels.training", "worldmodels.studies"}
    assert rooms_of(found) - allowed("evaluation") == {"training", "studies"}
    assert rooms_of(found) - allowed("training") == {"studies"}
    assert rooms_of(found) - allowed("studies") == set()
    assert rooms_of(found) - allowed("types") == {"training", "studies"}


def test_the_measure_counts_code_alone():
    text = (
        'def one(x):\n    """Says\n    two lines."""\n    # why\n\n    y = (\n        x\n    )\n'
        "    return y\n"
    )
    assert functions(text) == {"1 one": 5}


def test_tracked_text_names_no_registry_host():
    hosts = ["python" + "hosted", "pypi" + ".org", "registry.npm" + "js"]
    for path in [*ROOT.glob("*.lock"), ROOT / "pyproject.toml", ROOT / "Makefile"]:
        assert not any(host in path.read_text() for host in hosts)
