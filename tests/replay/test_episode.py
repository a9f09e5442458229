import numpy as np
import pytest
from recorded import ROW_BYTES, SPEC, numbered

from worldmodels.envs.base import row_bytes
from worldmodels.replay.episode import Episode, check_episode, make_episode
from worldmodels.types import ActionSpace


def check(episode: Episode) -> None:
    check_episode(episode, SPEC.obs_shape, SPEC.action_space)


def changed(name: str, row: int, value: float) -> Episode:
    array = getattr(numbered(0, 3), name).copy()
    array[row] = value
    return numbered(0, 3)._replace(**{name: array})


def test_an_episode_of_three_actions_has_four_rows_and_one_first():
    terminal, limited = numbered(1, 3), numbered(0, 3)
    assert (terminal.length, terminal.rows) == (3, 4)
    assert terminal.is_first.tolist() == [True, False, False, False]
    assert terminal.is_terminal.tolist() == [False, False, False, True]
    assert limited.is_terminal.tolist() == [False] * 4


def test_bytes_are_counted_before_an_episode_exists():
    assert row_bytes(SPEC.obs_shape, SPEC.action_space) == ROW_BYTES
    assert numbered(0, 9).nbytes == 10 * ROW_BYTES


@pytest.mark.parametrize(
    ("episode", "line"),
    [
        (changed("is_first", 2, True), r"is_first is set in rows \[0, 2\]: set it in row 0 alone"),
        (changed("is_first", 0, False), r"is_first is set in rows \[\]"),
        (changed("is_terminal", 1, True), r"is_terminal is set in rows \[1\]: only the last row"),
        (changed("reward", 0, 1.0), "row 0 has reward 1.0"),
        (changed("action", 0, 0.5), "both are 0 in the first row"),
        (changed("reward", 2, np.nan), r"reward\[2\] is nan: give finite numbers"),
        (changed("action", 3, 1.5), r"action\[3\] is .*: give numbers in \[-1, 1\]"),
        (changed("action", 1, np.nan), r"action\[1\] is .*: give numbers in \[-1, 1\]"),
        (numbered(0, 0), "episode has 1 rows: give at least 2"),
        (numbered(0, 3, policy=""), "policy=''"),
        (numbered(0, 3, round=-1), "round=-1"),
    ],
)
def test_a_broken_episode_is_refused_in_one_line(episode: Episode, line: str):
    with pytest.raises(ValueError, match=line) as error:
        check(episode)
    assert "\n" not in str(error.value)


def test_frames_of_another_size_are_refused_with_both_sizes():
    with pytest.raises(
        ValueError, match=r"obs is uint8 \(4, 2, 1, 1\).*takes uint8 \(4, 3, 1, 1\)"
    ):
        check_episode(numbered(0, 3), (3, 1, 1), SPEC.action_space)


def test_discrete_actions_are_one_hot():
    action = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0]], np.float32)
    space, rest = ActionSpace(3, True), numbered(0, 2)
    good = make_episode(rest.obs, action, rest.reward, False, "random", 0)
    check_episode(good, SPEC.obs_shape, space)
    for row in ([0.5, 0.5, 0], [0, 0, 0], [1, 1, 0]):
        bad = good._replace(action=np.array([[0, 0, 0], [0, 1, 0], row], np.float32))
        with pytest.raises(ValueError, match=r"action\[2\] is .*: give one-hot rows"):
            check_episode(bad, SPEC.obs_shape, space)
