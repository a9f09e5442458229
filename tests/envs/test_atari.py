from typing import Any

import ale_py
import numpy as np
import pytest
from ale_py import roms
from PIL import Image

from worldmodels.envs.atari import AtariPixelEnv
from worldmodels.envs.base import Frames
from worldmodels.types import ActionSpace

PONG = "ALE/Pong-v5"


def atari(
    id: str = PONG,
    num_envs: int = 1,
    size: tuple[int, int] = (32, 32),
    channels: int = 1,
    repeat: int = 4,
    limit: int | None = None,
    **options: Any,
) -> AtariPixelEnv:
    return AtariPixelEnv(id, num_envs, size, channels, repeat, limit, options)


def actions(env: AtariPixelEnv, steps: int) -> np.ndarray:
    choices = np.random.default_rng(7).integers(env.action_space.dim, size=(steps, env.num_envs))
    return np.eye(env.action_space.dim, dtype=np.float32)[choices]


def play(env: AtariPixelEnv, seed: int, steps: int) -> Frames:
    """All rows of one run, ``T N ...``; the environment's buffers must not leak into them."""
    rows = [env.reset(seed)]
    rows += [env.step(action) for action in actions(env, steps)]
    return Frames(*(np.stack(field) for field in zip(*rows)))


def same(one: Frames, two: Frames) -> bool:
    return all((a == b).all() for a, b in zip(one, two))


def bare_pong(idle: int) -> ale_py.ALEInterface:
    """The game without any wrapper, after FIRE and ``idle`` frames."""
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    game = ale_py.ALEInterface()
    game.setFloat("repeat_action_probability", 0.0)
    game.loadROM(str(roms.get_rom_path("pong")))
    game.reset_game()
    game.act(ale_py.Action.FIRE)
    for _ in range(idle):
        game.act(ale_py.Action.NOOP)
    return game


def test_rows_are_those_of_the_bare_game_pooled_over_two_frames():
    env = atari(size=(210, 160), channels=3, noop_max=1, repeat_action_probability=0.0)
    game = bare_pong(idle=0)
    legal = game.getMinimalActionSet()
    first = env.reset(0)
    assert (first.obs[0] == game.getScreenRGB().transpose(2, 0, 1)).all()
    for one_hot in actions(env, 60):
        row = env.step(one_hot)
        frames, score = [], 0
        for _ in range(4):
            score += game.act(legal[one_hot[0].argmax()])
            frames.append(game.getScreenRGB())
        assert (row.obs[0] == np.maximum(*frames[-2:]).transpose(2, 0, 1)).all()
        assert row.reward[0] == score
    assert game.getEpisodeFrameNumber() == 1 + 60 * 4


def test_without_repeat_a_row_is_one_frame_and_a_time_limit_shows_its_own_last_frame():
    env = atari(
        size=(210, 160), channels=3, repeat=1, limit=9, noop_max=1, repeat_action_probability=0.0
    )
    game = bare_pong(idle=0)
    legal = game.getMinimalActionSet()
    env.reset(0)
    ends = []
    for one_hot in actions(env, 9):
        row = env.step(one_hot)
        game.act(legal[one_hot[0].argmax()])
        assert (row.obs[0] == game.getScreenRGB().transpose(2, 0, 1)).all()
        ends.append(row.is_last[0])
    assert ends == [False] * 8 + [True]


@pytest.fixture(scope="module")
def screen() -> np.ndarray:
    """The whole first screen in colours."""
    return atari(size=(210, 160), channels=3).reset(3).obs[0]


def test_a_small_frame_is_the_average_of_the_screen(screen):
    small = atari(size=(42, 32), channels=3).reset(3).obs[0]
    squares = screen.reshape(3, 42, 5, 32, 5).mean((2, 4))
    assert np.abs(small - squares).max() <= 0.5


def test_grey_is_the_luma_of_the_colours(screen):
    grey = atari(size=(210, 160)).reset(3).obs[0, 0]
    luma = np.asarray(Image.fromarray(screen.transpose(1, 2, 0)).convert("L"), dtype=int)
    assert np.abs(grey - luma).max() <= 1


@pytest.fixture(scope="module")
def limited() -> Frames:
    """Two copies of a game that a time limit ends again and again."""
    return play(atari(num_envs=2, limit=5), 0, steps=30)


def test_the_time_limit_truncates_and_the_next_row_starts_a_new_episode(limited):
    starts, ends = [0, 6, 12, 18, 24, 30], [5, 11, 17, 23, 29]
    for copy in range(2):
        assert np.flatnonzero(limited.is_first[:, copy]).tolist() == starts
        assert np.flatnonzero(limited.is_last[:, copy]).tolist() == ends
    assert not limited.is_terminal.any()
    assert (limited.reward[starts] == 0).all()


def test_later_episodes_of_a_run_start_at_different_moments(limited):
    # Pong's picture tells the moment rarely: one of the copies is enough.
    starts = [limited.obs[limited.is_first[:, copy], copy] for copy in range(2)]
    assert max(len(np.unique(first, axis=0)) for first in starts) > 1


@pytest.fixture(scope="module")
def game() -> AtariPixelEnv:
    """Two copies of a game that random play loses after about 50 of these long steps."""
    return atari("ALE/Breakout-v5", 2, repeat=16, limit=60)


@pytest.fixture(scope="module")
def breakout(game) -> Frames:
    return play(game, 0, steps=130)


def test_the_end_of_the_game_is_terminal_and_the_next_row_starts_a_new_one(breakout):
    assert breakout.is_terminal.any()
    assert (breakout.is_last >= breakout.is_terminal).all()
    assert (breakout.is_first[1:] == breakout.is_last[:-1]).all()
    assert (breakout.reward[breakout.is_first] == 0).all()


def test_a_game_over_restarts_the_clock_of_the_time_limit(breakout):
    for copy in range(2):
        starts = np.flatnonzero(breakout.is_first[:, copy])
        ends = np.flatnonzero(breakout.is_last[:, copy])
        assert len(ends) >= 2
        for start, end in zip(starts, ends):
            assert end - start <= 60
            assert breakout.is_terminal[end, copy] or end - start == 60


def test_the_action_after_an_end_is_ignored(game, breakout):
    given, last = actions(game, 130), 0
    for flag in (breakout.is_terminal, breakout.is_last & ~breakout.is_terminal):
        time, copy = np.argwhere(flag)[0]
        # given[t] leads to row t + 1.
        given[time, copy] = np.roll(given[time, copy], 1)
        last = max(last, time)
    game.reset(0)
    for step in range(last + 4):
        row = game.step(given[step])
        assert (row.obs == breakout.obs[step + 1]).all()
        assert (row.reward == breakout.reward[step + 1]).all()


def test_a_seed_gives_the_same_run_again_in_this_environment_and_in_another():
    env = atari(limit=20)
    first = play(env, 5, steps=40)
    assert same(first, play(env, 5, steps=40))
    assert same(first, play(atari(limit=20), 5, steps=40))
    assert not same(first, play(env, 6, steps=40))


def test_copy_i_is_seeded_with_the_seed_plus_i():
    both, one = atari(num_envs=2).reset(8).obs, atari()
    assert (both[1] == one.reset(9).obs[0]).all()
    assert (both[0] == one.reset(8).obs[0]).all()


@pytest.mark.parametrize(("seed", "copies"), [(-1, 1), (2**31 - 1, 2), (2**40, 1)])
def test_any_whole_number_is_a_seed(seed, copies):
    env = atari(num_envs=copies)
    assert same(play(env, seed, 8), play(env, seed, 8))


def test_actions_stick_as_the_id_says_unless_an_option_frees_them():
    # The same choices lead elsewhere for another seed, only while chance repeats some of them.
    sticky, free = atari(noop_max=1), atari(noop_max=1, repeat_action_probability=0.0)
    assert not (play(sticky, 1, 30).obs == play(sticky, 2, 30).obs).all()
    assert (play(free, 1, 30).obs == play(free, 2, 30).obs).all()


def test_frames_are_contiguous_and_their_own():
    env = atari(num_envs=2, channels=3)
    row = env.reset(0)
    kept = row.obs.copy()
    later = env.step(actions(env, 1)[0])
    assert (row.obs == kept).all()
    for obs in (row.obs, later.obs):
        assert obs.flags.c_contiguous
        assert obs.flags.owndata
    flags = (later.is_first, later.is_terminal, later.is_last)
    later.is_last[:] = True
    assert not flags[1].any()
    assert not env.step(actions(env, 1)[0]).is_first.any()


def test_what_the_environment_says_of_itself():
    env = atari(num_envs=2, size=(48, 64), channels=3, repeat=4)
    assert env.num_envs == 2
    assert env.obs_shape == (3, 48, 64)
    assert env.action_space == ActionSpace(6, True)
    assert (env.name, env.frame_rate, env.action_repeat) == (PONG, 15.0, 4)
    assert env.time_limit == 108000 // 4
    assert atari(full_action_space=True).action_space == ActionSpace(18, True)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (
            lambda: atari("ALE/Pongg-v5"),
            "unknown environment 'ALE/Pongg-v5': did you mean ALE/Pong",
        ),
        (lambda: atari(sticky=0.3), "has no option 'sticky': choose one of full_action_space, m"),
        (lambda: atari(stack_num=4), "has no option 'stack_num'"),
        (lambda: atari(frameskip=4), "option 'frameskip' is what action_repeat says; leave it out"),
        (lambda: atari().step(np.eye(6, dtype=np.float32)[:2]), "2 actions for 1 environments"),
    ],
)
def test_a_mistake_gives_one_line_that_names_it(make, line):
    with pytest.raises(ValueError, match=line) as error:
        make()
    assert "\n" not in str(error.value)
