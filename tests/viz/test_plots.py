import numpy as np
import pytest
from matplotlib.image import imread

from worldmodels.viz.bands import Band
from worldmodels.viz.plots import (
    Panel,
    error_by_horizon,
    learning_curves,
    save_figure,
)


def line(axes, number=0):
    return axes.lines[number].get_xydata().tolist()


def band(*means):
    mean = np.array(means, float)
    return Band(mean, mean - 1, mean + 1)


def test_horizon_counts_from_the_first_unseen_step():
    axes = error_by_horizon([Panel("frames", "PSNR (dB)", {"model": band(9, 8, 7)})]).axes[0]
    assert line(axes) == [[1, 9], [2, 8], [3, 7]]
    assert axes.get_ylabel() == "PSNR (dB)"


def test_band_spans_its_interval():
    axes = error_by_horizon([Panel("", "", {"model": band(9, 8)})]).axes[0]
    corners = axes.collections[0].get_paths()[0].vertices
    assert {tuple(c) for c in corners} == {(1, 8), (1, 10), (2, 7), (2, 9)}


def test_label_keeps_its_colour_in_every_panel():
    first, second = {"a": band(1, 2), "b": band(2, 3)}, {"b": band(0, 1)}
    figure = error_by_horizon([Panel("", "", first), Panel("", "", second)])
    colours = [[curve.get_color() for curve in axes.lines] for axes in figure.axes]
    assert colours[0][1] == colours[1][0] != colours[0][0]


def test_seeds_are_averaged_over_the_steps_that_all_reached():
    seeds = [
        [{"step": 0, "r": 0.0}, {"step": 10, "r": 10.0}, {"step": 20, "r": 20.0}],
        [{"step": 0, "r": 4.0}, {"step": 5, "loss": 1.0}, {"step": 8, "r": 4.0}],
    ]
    axes = learning_curves({"planner": seeds}, {"r": "return"}).axes[0]
    assert line(axes, 0) == [[0, 0], [10, 10], [20, 20]]
    assert line(axes, 1) == [[0, 4], [8, 4]]
    assert line(axes, 2) == [[0, 2], [8, 6]]  # at step 8 the first seed has reached 8


def test_single_run_shows_the_interval_beside_its_mean():
    rows = [{"step": s, "r_mean": s, "r_low": s - 2, "r_high": s + 3} for s in (0, 10)]
    axes = learning_curves({"run": [rows]}, {"r_mean": "return"}).axes[0]
    corners = axes.collections[0].get_paths()[0].vertices
    assert {tuple(c) for c in corners} == {(0, -2), (0, 3), (10, 8), (10, 13)}


def test_unknown_metric_is_named_beside_the_known_ones():
    with pytest.raises(ValueError, match="metric 'x' is in no run: choose of r, step"):
        learning_curves({"run": [[{"step": 0, "r": 1.0}]]}, {"x": "return"})


def test_figure_is_written_and_the_suffix_checked(tmp_path):
    figure = error_by_horizon([Panel("", "", {"model": band(9, 8)})])
    save_figure(figure, tmp_path / "a.png")
    picture = imread(tmp_path / "a.png")
    assert picture[0, 0, :3].tolist() == [1, 1, 1]  # white paper
    assert picture.min() < 0.5  # with ink on it
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(ValueError, match=r"a\.bmp' must end in"):
        save_figure(figure, tmp_path / "a.bmp")
