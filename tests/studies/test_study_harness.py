import json
from pathlib import Path

import numpy as np
import pytest
from stub_study import Stub

from worldmodels.studies.catalogue import STUDIES, find_study
from worldmodels.studies.figure import arm_panels
from worldmodels.studies.page import page, publish, published
from worldmodels.studies.results import Results
from worldmodels.studies.runner import run_study
from worldmodels.studies.verb import main

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
    remark = tmp_path / "docs" / "results" / "studies" / "bad.txt"
    remark.parent.mkdir(parents=True)
    remark.write_text("Too little gain.\n")
    assert publish(tmp_path / "runs", tmp_path / "docs") == ["bad", "good"]
    text = (tmp_path / "docs" / "studies.md").read_text()
    assert "| [`bad`](#bad) | More is more. | FAILS |" in text
    assert "| [`good`](#good) | More is more. | passes |" in text
    assert "| score: points | 2 [0.8, 3.2] | 12 [10.8, 13.2] |" in text
    assert "| cost: seconds |  | 0.5 [0.5, 0.5] |" in text
    assert text.count("**Remark.** Too little gain.") == text.count("**Remark.**") == 1
    assert "small" not in text
    assert (tmp_path / "docs" / "results" / "studies" / "good.png").stat().st_size > 1000


def test_the_committed_page_is_what_the_committed_results_give():
    docs = REPOSITORY / "docs"
    if published(docs):
        assert (docs / "studies.md").read_text() == page(published(docs))


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_states_its_claim_rule_and_three_arms(name):
    study = find_study(name)
    assert len(study.claim) > 20
    assert len(study.rule) > 20
    assert {arm.role for arm in study.arms} == {"failing", "fixing", "control"}
    assert study.smoke() != study()


def test_the_figure_draws_every_seed_and_the_mean_of_each_arm():
    results = Results([{"a": {"m": 1.0}, "b": {"m": 5.0}}, {"a": {"m": 3.0}, "b": {"m": 5.0}}])
    (axes,) = arm_panels(results, {"m": "metres", "absent": "-"}, "title").axes
    assert (axes.get_title("left"), axes.get_xlabel()) == ("m", "metres")
    # Rows from bottom to top: b, a; in each the seeds, then the mean.
    drawn = [np.asarray(line.get_xdata()).tolist() for line in axes.lines]
    assert drawn == [[5.0, 5.0], [5.0], [1.0, 3.0], [2.0]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a"]


def test_the_verb_runs_lists_and_explains(tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    options = ["--seeds", "2", "--out", str(tmp_path)]
    main(["stub_study:Stub", *options])
    told = capsys.readouterr().out
    assert "rule: The fixed arm's score is at least 12" in told
    assert "FAILS: fixed: score 10.5" in told
    assert (tmp_path / "Stub" / "result.json").exists()
    main(["stub_study:Stub", *options, "--first_seed", "5", "--fresh"])
    seeds = json.loads((tmp_path / "Stub" / "result.json").read_text())["seeds"]
    assert [record["seed"] for record in seeds] == [5, 6]
    main(["--list"])
    assert "elites" in capsys.readouterr().out
    with pytest.raises(ValueError, match="did you mean elites"):
        main(["elite"])
    with pytest.raises(ValueError, match="--all"):
        main([])
    with pytest.raises(TypeError, match="no study"):
        main(["worldmodels.types:Batch"])
