"""Every command and program shown in the README and in the guides is run, in order.

The pages run in a process of their own, without the shape checks of the tests. ``run_page.py``
lists what is added to a command and what is left out. Of the pages about long trainings the ``fit``
commands are read and not run. Every number in the README's table of results is held to its file.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from run_page import BLOCK, commands, run_page

from worldmodels.cli.fit import fit_parser

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
GUIDES = [
    DOCS / "guides" / f"{name}.md"
    for name in (
        "train_on_your_environment", "plan", "learn_offline", "plug_in_a_part",
        "read_the_dreams_errors",
    )
]  # fmt: skip
RUN = [ROOT / "README.md", DOCS / "index.md", *GUIDES]
READ = [
    ROOT / "README.md", DOCS / "guides" / "learn_policies.md", DOCS / "guides" / "scale_out.md",
    *sorted((DOCS / "results").glob("*/README.md")),
]  # fmt: skip
LINKED = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "data" / "README.md"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Runs every page in one folder, one after the other; returns it and what was printed."""
    folder = tmp_path_factory.mktemp("pages")
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "run_page.py", *RUN],
        cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder, done.stdout


def frames(video):
    with av.open(str(video)) as container:
        return sum(1 for _ in container.decode(video=0))


def about(run):
    return json.loads((run / "model" / "model.json").read_text())["agent"]


def updates(run):
    return json.loads((run / "run.json").read_text())["updates"]


def test_the_readme_does_what_it_says(pages):
    folder, _ = pages
    assert updates(folder / "runs" / "cliffhill") == 6  # 4, then 2 more after --resume
    assert updates(folder / "runs" / "offline") == 4
    # Episodes are 50 steps long, the dream as long as one allows.
    assert frames(folder / "dream.mp4") >= 45
    assert frames(folder / "cart.gif") >= 45
    evaluation = json.loads((folder / "runs" / "cliffhill" / "evaluation.json").read_text())
    assert evaluation["run"] == "runs/cliffhill"


def test_the_guides_do_what_they_say(pages):
    folder, printed = pages
    runs = folder / "runs"
    assert updates(runs / "reach") == updates(runs / "inside") == 4
    encoders = [
        about(runs / run)["model"]["init_args"]["encoder"] for run in ("plugged", "plugged-yaml")
    ]
    assert [e["class_path"] for e in encoders] == ["my_lab.nets.MyEncoder"] * 2
    assert [e["init_args"]["embed_dim"] for e in encoders] == [128, 64]
    assert "action (1, 1)" in printed


def test_a_command_that_fails_or_is_unknown_is_noticed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text("```bash\nworldmodels data inspect nowhere\n```\n")
    with pytest.raises(AssertionError, match="data inspect nowhere"):
        run_page(page, [])
    page.write_text("```bash\nrm -r data\n```\n")
    with pytest.raises(AssertionError, match="neither a command of ours nor in NOT_RUN"):
        run_page(page, [])


def test_the_quickstart_goes_from_an_environment_to_a_dream(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "scripts" / "quickstart.py").read_text()
    code = [line for line in text.splitlines()[1:] if line and not line.startswith("#")]
    assert len(code) <= 20
    tiny = {
        "num_envs=10": "num_envs=2, size=(16, 16)",
        "env.action_space)\n": "env.action_space, partial(ConvEncoder, depth=2), "
        "partial(GaussianRSSM, deter=8, hidden=8), partial(ConvDecoder, depth=2))\n",
        "candidates=100, iterations=4, elites=10": "candidates=4, iterations=1, elites=2",
        "prefill=2000": "prefill=100",
        "updates=400": "updates=4",
        "episodes=10": "episodes=2",
    }
    for given, small in tiny.items():
        assert given in text
        text = text.replace(given, small, 1)
    names = {}
    header = (
        "from functools import partial\n"
        "from worldmodels.dynamics import GaussianRSSM\n"
        "from worldmodels.nn.decoders import ConvDecoder\n"
        "from worldmodels.nn.encoders import ConvEncoder\n"
    )
    exec(compile(header + text, "quickstart.py", "exec"), names)
    assert names["run"].metrics[-1]["update"] == 4
    assert frames(tmp_path / "quickstart.mp4") >= 45


def read_fits(page):
    """Parses the ``fit`` commands of a page, in blocks or indented; returns how many there are."""
    text = page.read_text().replace("\\\n", " ")
    found = commands("\n".join(re.findall(r"^ *worldmodels fit .*$", text, re.MULTILINE)))
    parser = fit_parser()
    for words in found:
        parser.read(words[2:])
    return len(found)


@pytest.mark.parametrize("page", READ, ids=lambda page: str(page.relative_to(ROOT)))
def test_fit_commands_of_long_trainings_have_options_and_recipes_that_exist(page):
    assert read_fits(page) > 0


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("    worldmodels fit --config dreamr", "did you mean dreamer"),
        ("worldmodels fit --name a\nworldmodels fit --uptades 3", "unknown option --uptades"),
        ("worldmodels fit --behaviour ActorCritic \\\n  --behaviour.horizn 3", "horizn"),
    ],
)
def test_a_wrong_fit_command_is_noticed(tmp_path, command, told):
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n```bash\n{command}\n```\n")
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        read_fits(page)


def test_the_front_page_shows_the_dream_and_the_numbers_of_their_files():
    text = (ROOT / "README.md").read_text()
    assert "docs/dream.gif" in "\n".join(text.splitlines()[:10])
    assert 0 < (DOCS / "dream.gif").stat().st_size < 1_500_000
    assert max(len(cell) for line in text.splitlines() for cell in line.split("|")) < 600
    rows = {line.split("|")[2].split("`")[1]: line for line in results_table(text) if "`" in line}
    cart = DOCS / "results" / "cartswing"
    runs = [cart / f"dreamer-{seed}" for seed in range(3)]
    evaluations = [
        [row["eval/return_mean"] for row in lines(run) if "eval/return_mean" in row][-3:]
        for run in runs
    ]
    records = [json.loads((run / "run.json").read_text()) for run in runs]
    dreamer = rows["dreamer"]
    assert "return " + ", ".join(f"{np.mean(last):.0f}" for last in evaluations) in dreamer
    assert ", ".join(f"{r['seconds'] / 60:.0f}" for r in records) + " minutes" in dreamer
    assert {r["env_steps"] * 4 for r in records} == {51_000}
    assert "51,000 frames" in dreamer
    students = json.loads((cart / "students.json").read_text())["returns"]
    means = ", ".join(f"{np.mean(seed['student']):.0f}" for seed in students)
    assert f"return {means}" in rows["distill"]
    minutes = json.loads((cart / "distill-0" / "run.json").read_text())["seconds"] / 60
    assert f"{minutes:.0f} minutes more" in rows["distill"]
    pong = json.loads((DOCS / "results" / "pong" / "evaluation.json").read_text())["open_loop"]
    model, copy = (pong["psnr"][who]["mean"][4] for who in ("model", "copy last frame"))
    assert f"{model:.1f} dB, copied frame {copy:.1f}" in rows["pong_offline"]
    record = json.loads((DOCS / "results" / "pong" / "run.json").read_text())
    assert f"{record['env_steps']:,} steps" in rows["pong_offline"]
    assert f"{record['seconds'] / 60:.0f} minutes" in rows["pong_offline"]


def test_the_front_page_tells_how_many_studies_pass():
    results = [json.loads(file.read_text()) for file in (DOCS / "results/studies").glob("*.json")]
    names = {8: "eight", 16: "Sixteen"}
    text = " ".join((ROOT / "README.md").read_text().split())
    assert f"{names[len(results)]} [studies]" in text
    assert f"{names[sum(result['passed'] for result in results)]} pass" in text


def results_table(text):
    part = text.split("## What learns what")[1].split("\n## ")[0]
    return [line for line in part.splitlines() if line.startswith("|")]


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


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


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    assert broken_links(page) == []


def test_a_broken_link_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One\n## The other, in *full*\n[a](page.md#the-other-in-full) [b](#one)\n")
    assert broken_links(page) == []
    page.write_text("# One\n[a](pages.md) [b](pages.md#one) [c](page.md#two) ![d](d.png) [e](#f)\n")
    assert broken_links(page) == ["pages.md", "pages.md#one", "page.md#two", "d.png", "#f"]


def test_every_block_of_the_pages_is_of_a_language_that_is_run():
    assert all(BLOCK.search(page.read_text()) for page in RUN)
