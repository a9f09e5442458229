"""A wheel holds everything: code and recipes run outside of any checkout."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TINY_MODEL = [
    "--model.encoder.depth=2", "--model.decoder.depth=2", "--model.dynamics.stoch=4",
    "--model.dynamics.deter=8", "--model.dynamics.hidden=8", "--behaviour.starts=4",
    "--behaviour.hidden=8", "--behaviour.horizon=2", "--env.size=[16,16]", "--env.time_limit=8",
    "--collect.prefill=20", "--updates=2", "--round_updates=2", "--batches.batch_size=2",
    "--batches.batch_length=4", "--evaluate.every=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, unpacked into a folder that holds nothing else."""
    tree, site = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("site")
    for name in ("worldmodels", "configs"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('dist'))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=tree, capture_output=True, text=True, check=True
    )
    wheel = tree / "dist" / done.stdout.split()[-1]
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    return site


def run(site, folder, *commands):
    """Commands in an empty folder, in one process, with this package from the wheel alone."""
    environment = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    code = (
        "import json, sys, worldmodels\n"
        f"assert worldmodels.__file__.startswith({str(site)!r}), worldmodels.__file__\n"
        "from worldmodels.cli.main import main\n"
        "sys.exit(max(main(command) for command in json.loads(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(commands)], cwd=folder, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    return done.stdout


def test_the_wheel_trains_by_recipes_and_runs_the_demo_outside_of_any_checkout(installed, tmp_path):
    recipe = ["--config=dreamer", "--config=cliffhill", "--name=wheel"]
    sizes = ["--updates=2", "--round_updates=1", "--prefill=60", "--copies=2", "--episodes=2"]
    run(installed, tmp_path, ["fit", *recipe, *TINY_MODEL], ["demo", *sizes, "--size=[16,16]"])
    assert (tmp_path / "runs" / "wheel" / "model" / "weights.safetensors").exists()
    assert (tmp_path / "runs" / "demo" / "dream.mp4").exists()


def test_the_wheel_names_every_package_and_every_recipe(installed):
    listed = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    )
    found = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for file in (ROOT / "worldmodels").rglob("*.py")
    }
    assert listed == found | {"worldmodels.configs"}
    recipes = {file.relative_to(ROOT / "configs") for file in (ROOT / "configs").rglob("*.yaml")}
    inside = installed / "worldmodels" / "configs"
    assert {file.relative_to(inside) for file in inside.rglob("*.yaml")} == recipes
