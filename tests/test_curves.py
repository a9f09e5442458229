import json

import pytest

from worldmodels.cli import main
from worldmodels.curves import jobs_of
from worldmodels.training.metrics import read_metrics


@pytest.fixture
def runs(tmp_path):
    folders = [tmp_path / name for name in ("dreamer-0", "dreamer-1", "planet")]
    for number, folder in enumerate(folders):
        folder.mkdir()
        rows = [{"step": 10 * k, "update": k, "return": float(number + k)} for k in range(4)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folders


def test_a_number_at_the_end_of_a_name_is_a_seed(runs):
    jobs = jobs_of({run: read_metrics(run / "metrics.jsonl") for run in runs})
    assert {name: len(seeds) for name, seeds in jobs.items()} == {"dreamer": 2, "planet": 1}
    assert [row["return"] for row in jobs["dreamer"][1]] == [1.0, 2.0, 3.0, 4.0]


def test_curves_writes_a_figure_and_tells_the_last_values(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    figure = tmp_path / "curves.png"
    assert main(["curves", *map(str, runs), "--metrics", "return", "--out", str(figure)]) == 0
    assert figure.read_bytes().startswith(b"\x89PNG")
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "planet" in line]
    # Last step 30, last value 2 + 3, mean of 3, 4 and 5.
    assert [word for word in told.split() if word[0].isdigit()] == ["4", "30", "5", "4"]


def test_mistakes_are_one_line(runs, tmp_path, capsys):
    out = ["--out", str(tmp_path / "curves.png")]
    assert main(["curves", str(tmp_path / "none"), *out]) == 2
    assert "holds no metrics.jsonl" in capsys.readouterr().err
    assert main(["curves", str(runs[0]), "--metrics", "loss", *out]) == 2
    assert "metric 'loss' is in no run: choose of return" in capsys.readouterr().err
    assert not (tmp_path / "curves.png").exists()
