import av
import numpy as np
import pytest

from worldmodels.viz.video import _WRITERS, _durations, read_video, write_video


def blocks(count=6, height=32, width=48):
    """Quarters of four colours; the first changes over time."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    frames[:, : height // 2, width // 2 :] = (220, 40, 40)
    frames[:, height // 2 :, : width // 2] = (40, 200, 60)
    frames[:, height // 2 :, width // 2 :] = (250, 250, 250)
    frames[:, : height // 2, : width // 2] = (np.arange(count) * 30 + 20)[:, None, None, None]
    return frames


def test_mp4_gives_back_the_colours_of_every_frame(tmp_path):
    frames = blocks()
    write_video(tmp_path / "a.mp4", frames, 12.5)
    video = read_video(tmp_path / "a.mp4")
    assert video.fps == 12.5
    # Away from the edges between colours, which share their colour over 2 x 2 pixels.
    for rows in (slice(4, 12), slice(20, 28)):
        for columns in (slice(4, 20), slice(28, 44)):
            part = np.s_[:, rows, columns]
            np.testing.assert_allclose(video.frames[part].astype(int), frames[part], atol=4)


def test_mp4_is_h264_in_the_form_that_browsers_stream(tmp_path):
    write_video(tmp_path / "a.mp4", blocks(), 10.0)
    with av.open(str(tmp_path / "a.mp4")) as file:
        context = file.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_mp4_of_odd_size_repeats_its_last_row_and_column(tmp_path):
    frames = np.full((3, 31, 47, 3), 120, np.uint8)
    write_video(tmp_path / "a.mp4", frames, 10.0)
    video = read_video(tmp_path / "a.mp4")
    assert video.frames.shape == (3, 32, 48, 3)
    np.testing.assert_allclose(video.frames.astype(int), 120, atol=3)


def test_gif_of_few_colours_is_exact(tmp_path):
    write_video(tmp_path / "a.gif", blocks(), 10.0)
    video = read_video(tmp_path / "a.gif")
    np.testing.assert_array_equal(video.frames, blocks())
    assert video.fps == 10


def test_webp_gives_back_the_frames(tmp_path):
    write_video(tmp_path / "a.webp", blocks(), 25.0)
    video = read_video(tmp_path / "a.webp")
    assert video.fps == 25
    for rows in (slice(4, 12), slice(20, 28)):
        part = np.s_[:, rows, 4:20]
        np.testing.assert_allclose(video.frames[part].astype(int), blocks()[part], atol=8)


def test_fast_gif_leaves_frames_out_and_keeps_its_speed(tmp_path):
    write_video(tmp_path / "a.gif", blocks(8), 100.0)
    video = read_video(tmp_path / "a.gif")
    np.testing.assert_array_equal(video.frames, blocks(8)[::2])
    assert video.fps == 50


def test_rounded_durations_add_up():
    # 30 frames a second do not fit the hundredths of a gif: 3, 4, 3 hundredths, and again.
    assert _durations(6, 30.0, unit=10) == [30, 40, 30, 30, 40, 30]
    assert sum(_durations(300, 30.0, unit=10)) == 10_000


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".mp4"])
def test_interrupted_write_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_text("old")

    def interrupted(temporary, frames, fps):
        temporary.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setitem(_WRITERS, suffix, interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_video(path, blocks(2), 10.0)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_folder_is_made(tmp_path):
    write_video(tmp_path / "new" / "a.gif", blocks(2), 10.0)
    assert (tmp_path / "new" / "a.gif").stat().st_size > 0


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"a\.avi' must end in \.mp4, \.gif, \.webp"):
        write_video(tmp_path / "a.avi", blocks(), 10.0)
    with pytest.raises(ValueError, match=r"shape \(0, 32, 48, 3\): give at least one"):
        write_video(tmp_path / "a.mp4", blocks(0), 10.0)
    with pytest.raises(ValueError, match=r"fps=0\.0: give"):
        write_video(tmp_path / "a.mp4", blocks(), 0.0)
    assert list(tmp_path.iterdir()) == []
