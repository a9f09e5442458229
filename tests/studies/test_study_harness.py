import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from stub_study import Stub

from worldmodels.cli.study import study as command
from worldmodels.studies.catalogue import STUDIES, find_study
from worldmodels.studies.figure import variant_panels
from worldmodels.studies.page import pages, publish, renamed
from worldmodels.studies.results import Results
from worldmodels.studies.runner import run_study

REPOSITORY = Path(__file__).parent.parent.parent


def calls(folder):
    return [int(line) for line in (folder / "calls.txt").read_text().split()]


def test_the_verdict_is_hand_arithmetic_over_the_seeds(tmp_path):
    # Seeds 0..4: fixed scores 10..14 (mean 12), broken 0..4 (mean 2), each difference 10.
    result = run_study("stub", Stub(), tmp_path, range(5))
    assert result["passed"]
    assert [check["passed"] for check in result["checks"]] == [True, True]
    assert result["intervals"]["fixed"]["score"][0] == 12
    assert result["intervals"]["broken"]["score"][0] == 2
    assert "by 10 [10, 10]" in result["checks"][1]["text"]
    assert json.loads((tmp_path / "result.json").read_text()) == result
    assert [seed["numbers"]["fixed"]["score"] for seed in result["seeds"]] == [10, 11, 12, 13, 14]


def test_a_rule_that_fails_is_reported_as_failing(tmp_path):
    # Seeds 0..3: fixed scores 10..13, mean 11.5, below 12.
    result = run_study("stub", Stub(), tmp_path, range(4))
    assert not result["passed"]
    assert [check["passed"] for check in result["checks"]] == [False, True]
    assert "11.5" in result["checks"][0]["text"]


def test_an_interrupted_study_goes_on_with_the_seeds_it_lacks(tmp_path):
    for seed in (0, 1):
        run_study("stub", Stub(), tmp_path, [seed])
    result = run_study("stub", Stub(), tmp_path, range(4))
    assert calls(tmp_path) == [0, 1, 2, 3]
    assert [seed["seed"] for seed in result["seeds"]] == [0, 1, 2, 3]
    assert (tmp_path / "seeds" / "3.log").read_text() == "measuring seed 3\n"
    assert not (tmp_path / "seeds" / "3").exists()


def test_a_seed_that_breaks_leaves_the_finished_ones(tmp_path):
    with pytest.raises(RuntimeError, match="interrupted"):
        run_study("stub", Stub(fail_at=2), tmp_path, range(4))
    assert sorted(file.stem for file in (tmp_path / "seeds").glob("*.json")) == ["0", "1"]


def test_seeds_of_other_sizes_are_not_mixed(tmp_path):
    run_study("stub", Stub(), tmp_path, [0])
    with pytest.raises(ValueError, match="--fresh"):
        run_study("stub", Stub(gain=3.0), tmp_path, [0])


def test_parallel_seeds_measure_what_serial_ones_do(tmp_path):
    serial = run_study("stub", Stub(), tmp_path / "serial", range(2))
    parallel = run_study("stub", Stub(), tmp_path / "parallel", range(2), jobs=2)
    assert parallel["intervals"] == serial["intervals"]
    assert [seed["seed"] for seed in parallel["seeds"]] == [0, 1]


def test_the_conditions_compare_what_they_say():
    results = Results(
        [
            {"a": {"m": value}, "b": {"m": other}}
            for value, other in [(1.0, 0.0), (2.0, 4.0), (6.0, 2.0)]
        ]
    )
    # Paired differences 1, -2, 4: mean 1, and a resample may be all -2.
    lead = results.lead("a", "b", "m")
    assert (lead.mean, lead.low, lead.high) == (1, -2, 4)
    assert not results.beats("a", "b", "m").passed
    assert results.reaches("a", "b", "m").passed
    assert not results.reaches("b", "a", "m").passed
    assert results.reaches("b", "a", "m", slack=1.0).passed
    assert results.at_least("a", "m", 3.0).passed
    assert not results.at_least("a", "m", 3.1).passed
    assert results.at_most("b", "m", 2.0).passed
    assert not results.at_most("b", "m", 1.9).passed


def test_seeds_that_measured_different_things_are_refused():
    with pytest.raises(ValueError, match="seed number 1"):
        Results([{"a": {"m": 1.0}}, {"a": {"n": 1.0}}])


def test_published_pages_tell_passes_failures_and_numbers(tmp_path):
    run_study("good", Stub(), tmp_path / "runs" / "good", range(5))
    run_study("bad", Stub(gain=0.0), tmp_path / "runs" / "bad", range(5))
    run_study("small", Stub.smoke(), tmp_path / "runs" / "small", range(1))
    results, written = tmp_path / "docs" / "results" / "studies", tmp_path / "docs" / "studies"
    results.mkdir(parents=True)
    (results / "bad.txt").write_text("Too little gain.\n")
    words = {"bad": {"short": "More helps.", "key": "2 and 2.", "main": ["score"]}}
    (results / "pages.yaml").write_text(yaml.safe_dump(words))
    assert publish(tmp_path / "runs", tmp_path / "docs") == ["bad", "good"]
    assert {file.stem for file in written.glob("*.md")} == {"bad", "good", "index"}
    index = (written / "index.md").read_text()
    assert "| [bad](bad.md) | More helps. | fails | 2 and 2. |" in index
    assert "| [good](good.md) | More is more. | passes |  |" in index
    good, bad = ((written / f"{name}.md").read_text() for name in ("good", "bad"))
    assert "**Result: passes** (all 2 conditions hold), 5 seeds (0 to 4)" in good
    assert "**Result: fails** (2 of 2 conditions fail), 5 seeds (0 to 4)" in bad
    assert "| variant | role | what it is | score | cost |" in good
    assert "| broken | baseline | as it was | 2 [0.8, 3.2] | - |" in good
    assert "| fixed | method | ten more | 12 [10.8, 13.2] | 0.5 |" in good
    # What is not in the first table is in the second.
    assert "| variant | role | what it is | score |\n" in bad
    assert "| measure | fixed |\n|---|---|\n| cost | 0.5 |\n\n- cost: seconds.\n" in bad
    assert "## What we learned\n\nToo little gain.\n" in bad
    assert "What we learned" not in good
    assert (results / "good.png").stat().st_size > 1000
    assert pages(tmp_path / "docs")["good"] == good


def test_older_results_are_read_in_todays_words():
    old = {
        "name": "old",
        "arms": [
            {"name": "a", "role": "failing", "text": "one"},
            {"name": "b", "role": "fixing", "text": "two"},
            {"name": "c", "role": "control", "text": "three"},
        ],
    }
    new = {
        "name": "old",
        "variants": [
            {"name": "a", "role": "baseline", "text": "one"},
            {"name": "b", "role": "method", "text": "two"},
            {"name": "c", "role": "ablation", "text": "three"},
        ],
    }
    assert renamed(old) == new
    assert renamed(new) == new


def test_a_result_is_written_in_todays_words(tmp_path):
    result = run_study("stub", Stub(), tmp_path, [0])
    assert result["variants"] == [
        {"name": "broken", "role": "baseline", "text": "as it was"},
        {"name": "fixed", "role": "method", "text": "ten more"},
    ]
    assert json.loads((tmp_path / "result.json").read_text())["variants"] == result["variants"]


def test_the_committed_pages_are_what_the_committed_results_give():
    docs = REPOSITORY / "docs"
    made = pages(docs)
    assert {file.stem for file in (docs / "studies").glob("*.md")} == set(made)
    for name, text in made.items():
        assert (docs / "studies" / f"{name}.md").read_text() == text, name


@pytest.mark.parametrize("name", STUDIES)
def test_a_studys_texts_are_those_of_its_committed_result(name):
    study = find_study(name)
    committed = json.loads((REPOSITORY / "docs/results/studies" / f"{name}.json").read_text())
    committed = renamed(committed)
    assert (study.claim, study.rule) == (committed["claim"], committed["rule"])
    assert [variant._asdict() for variant in study.variants] == committed["variants"]
    assert dict(study.measures) == committed["measures"]


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_states_its_claim_its_rule_and_all_three_roles(name):
    study = find_study(name)
    assert len(study.claim) > 20
    assert len(study.rule) > 20
    assert {variant.role for variant in study.variants} == {"baseline", "method", "ablation"}
    assert study.smoke() != study()


def test_the_figure_draws_every_seed_and_the_mean_of_each_variant():
    results = Results([{"a": {"m": 1.0}, "b": {"m": 5.0}}, {"a": {"m": 3.0}, "b": {"m": 5.0}}])
    (axes,) = variant_panels(results, {"m": "metres", "absent": "-"}, "title").axes
    assert (axes.get_title("left"), axes.get_xlabel()) == ("m", "metres")
    # Rows from bottom to top: b, a; in each the seeds, then the mean.
    drawn = [np.asarray(line.get_xdata()).tolist() for line in axes.lines]
    assert drawn == [[5.0, 5.0], [5.0], [1.0, 3.0], [2.0]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a"]


def test_the_command_runs_lists_and_explains(tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    options = ["--seeds", "2", "--out", str(tmp_path)]
    command(["stub_study:Stub", *options])
    told = capsys.readouterr().out
    assert "rule: The fixed variant's score is at least 12" in told
    assert "FAILS: fixed: score 10.5" in told
    assert (tmp_path / "Stub" / "result.json").exists()
    command(["stub_study:Stub", *options, "--first_seed", "5", "--fresh"])
    seeds = json.loads((tmp_path / "Stub" / "result.json").read_text())["seeds"]
    assert [record["seed"] for record in seeds] == [5, 6]
    command(["--list"])
    assert "elites" in capsys.readouterr().out
    with pytest.raises(ValueError, match="did you mean elites"):
        command(["elite"])
    with pytest.raises(ValueError, match="--all"):
        command([])
    with pytest.raises(TypeError, match="no study"):
        command(["worldmodels.types:Batch"])
