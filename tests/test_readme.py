"""Every command and every program shown in the README and in docs/*.md is run, in order.

Each page has a process of its own, as its reader has: without the shape checks of the tests.
``run_page.py`` lists what is added to a command and what is left out. Of the pages about
behaviours and results, whose commands take hours, the ``fit`` commands are read and not run.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import av
import pytest
from run_page import BLOCK, commands, run_page

from worldmodels.training.fit import fit_parser

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWING = [page for page in PAGES if BLOCK.search(page.read_text())]
BEHAVIOURS = sorted((ROOT / "docs" / "behaviours").glob("*.md"))
LONG = BEHAVIOURS + sorted((ROOT / "docs" / "results").glob("*/README.md"))


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


def read_fits(page):
    """Parses the ``fit`` commands of a page, in blocks or indented; returns how many there are."""
    text = page.read_text().replace("\\\n", " ")
    found = commands("\n".join(re.findall(r"^ *worldmodels fit .*$", text, re.MULTILINE)))
    parser = fit_parser()
    for words in found:
        parser.read(words[2:])
    return len(found)


@pytest.mark.parametrize("page", LONG, ids=lambda page: str(page.relative_to(ROOT / "docs")))
def test_fit_commands_of_long_pages_have_options_and_recipes_that_exist(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert read_fits(page) > 0 or page not in BEHAVIOURS


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("    worldmodels fit --config configs/recipe/dreamr.yaml", "File does not exist"),
        ("worldmodels fit --name a\nworldmodels fit --uptades 3", "unknown option --uptades"),
        ("worldmodels fit --behaviour ActorCritic \\\n  --behaviour.horizn 3", "horizn"),
    ],
)
def test_a_wrong_fit_command_is_noticed(tmp_path, monkeypatch, command, told):
    monkeypatch.chdir(ROOT)
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n```bash\n{command}\n```\n")
    with pytest.raises(ValueError, match=told):
        read_fits(page)


def broken_links(page):
    """Links of a page whose file, or heading in it, is not there."""

    def leads(link):
        target, _, heading = link.partition("#")
        file = page.parent / target if target else page
        return link.startswith("http") or (
            file.exists() and (not heading or heading in slugs(file))
        )

    return [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if not leads(link)]


def slugs(page):
    """Its headings as they are linked to."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


@pytest.mark.parametrize("page", PAGES + LONG, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    assert broken_links(page) == []


def test_a_broken_link_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One\n## The other, in *full*\n[a](page.md#the-other-in-full) [b](#one)\n")
    assert broken_links(page) == []
    page.write_text("# One\n[a](pages.md) [b](pages.md#one) [c](page.md#two) ![d](d.png) [e](#f)\n")
    assert broken_links(page) == ["pages.md", "pages.md#one", "page.md#two", "d.png", "#f"]
