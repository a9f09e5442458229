import json

import pytest

from worldmodels.viz.curves import curves, jobs_of


@pytest.fixture
def runs(tmp_path):
    folders = [tmp_path / name for name in ("dreamer-0", "dreamer-1", "planet")]
    for number, folder in enumerate(folders):
        folder.mkdir()
        rows = [{"step": 10 * k, "update": k, "return": float(number + k)} for k in range(4)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folders


def test_a_number_at_the_end_of_a_name_is_a_seed(runs):
    jobs = jobs_of(curves(runs).runs)
    assert {name: len(seeds) for name, seeds in jobs.items()} == {"dreamer": 2, "planet": 1}
    assert [row["return"] for row in jobs["dreamer"][1]] == [1.0, 2.0, 3.0, 4.0]


def test_the_table_holds_the_last_values(runs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    with (runs[0] / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 40, "update": 4, "other": 1.0}) + "\n")
    text = str(curves(runs, ("return", "other"), x="update"))
    rows = [line.replace("│", " ").split()[1:] for line in text.splitlines() if "planet" in line]
    # Last update 3, last value 2 + 3, mean of 3, 4 and 5.
    assert rows == [["4", "3", "5", "4"], ["0", "-", "-", "-"]]
    (dreamer,) = [line for line in text.splitlines() if "dreamer-0" in line][1:]
    assert dreamer.replace("│", " ").split()[1:] == ["1", "4", "1", "-"]


def test_seeds_are_drawn_under_their_mean(runs):
    (axes,) = curves(runs, ("return",)).figure().axes
    assert axes.get_xlabel() == "environment steps"
    labels = axes.get_legend_handles_labels()[1]
    assert labels == ["dreamer (mean of 2)", "planet"]
    # 0.5 is the mean of the first values, 0 and 1.
    assert [line.get_ydata()[0] for line in axes.lines] == [0, 1, 0.5, 2]


def test_mistakes_are_named(runs, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none holds no metrics\.jsonl"):
        curves([tmp_path / "none"])
    with pytest.raises(ValueError, match="x=time: choose one of step, update"):
        curves(runs, x="time")
    with pytest.raises(ValueError, match="metric 'loss' is in no run: choose of return"):
        curves(runs, ("loss",)).save(tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()
