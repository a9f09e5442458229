"""Every command and every program shown in the README and in docs/*.md is run, in order.

Each page has a process of its own, as its reader has: without the shape checks of the tests.
``run_page.py`` lists what is added to a command and what is left out.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import av
import pytest
from run_page import BLOCK, run_page

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWING = [page for page in PAGES if BLOCK.search(page.read_text())]


def do_page(page, folder):
    """Runs a page in a folder that has what a checkout has; returns what was printed."""
    (folder / "configs").symlink_to(ROOT / "configs")
    (folder / "data").mkdir()
    (folder / "data" / "pong-sample").symlink_to(ROOT / "data" / "pong-sample")
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "run_page.py", page],
        cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def frames(video):
    with av.open(str(video)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_the_readme_does_what_it_says(tmp_path):
    printed = do_page(ROOT / "README.md", tmp_path)
    runs = tmp_path / "runs"

    def updates(run):
        return json.loads((runs / run / "run.json").read_text())["updates"]

    def encoder(run):
        about = json.loads((runs / run / "model" / "model.json").read_text())
        part = about["agent"]["model"]["init_args"]["encoder"]
        return part["class_path"], part["init_args"]["embed_dim"]

    assert updates("cliffhill") == 6  # 4, then 2 more after --resume
    assert updates("reach") == updates("offline") == 4
    assert encoder("plugged") == ("my_lab.nets.MyEncoder", 128)
    assert encoder("plugged-yaml") == ("my_lab.nets.MyEncoder", 64)
    assert frames(tmp_path / "dream.mp4") >= 45
    assert frames(tmp_path / "cart.gif") >= 45
    assert json.loads((runs / "demo" / "evaluation.json").read_text())["run"] == "runs/demo"
    assert "action (1, 1)" in printed


@pytest.mark.parametrize("page", SHOWING[1:], ids=lambda page: page.name)
def test_other_pages_do_what_they_say(page, tmp_path):
    do_page(page, tmp_path)


def test_a_command_that_fails_or_is_unknown_is_noticed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text("```bash\nworldmodels data inspect nowhere\n```\n")
    with pytest.raises(AssertionError, match="data inspect nowhere"):
        run_page(page)
    page.write_text("```bash\nrm -r data\n```\n")
    with pytest.raises(AssertionError, match="neither a verb of ours nor in NOT_RUN"):
        run_page(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target
