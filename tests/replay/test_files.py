import os
import stat
import subprocess
import sys

import pytest

from worldmodels.replay import files
from worldmodels.replay.files import (
    move_into_place,
    whole_file,
    write_atomically,
    write_bytes,
    write_text,
)


def fail(file):
    file.write(b"half")
    raise KeyboardInterrupt


def test_text_and_bytes_are_written_and_replace_what_was_there(tmp_path):
    path = tmp_path / "a.json"
    write_text(path, "one Å\n")
    assert path.read_bytes() == b"one \xc3\x85\n"
    write_bytes(str(path), b"two")
    write_atomically(path, lambda file: [file.write(part) for part in (b"th", b"ree")])
    assert path.read_bytes() == b"three"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_whole_and_no_temporary(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_first_write_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.json", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_process_killed_while_it_writes_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    program = f"""
import os, signal
from worldmodels.replay.files import write_atomically
def write(file):
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
write_atomically({str(path)!r}, write)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert path.read_text() == "old"


def test_the_file_is_flushed_before_it_gets_its_name_and_the_folder_after(tmp_path, monkeypatch):
    path, events = tmp_path / "a.json", []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor):
        about = os.fstat(descriptor)
        events.append("folder" if stat.S_ISDIR(about.st_mode) else about.st_size)
        fsync(descriptor)

    def noted_replace(old, new):
        events.append("rename")
        replace(old, new)

    monkeypatch.setattr(files.os, "fsync", noted_fsync)
    monkeypatch.setattr(files.os, "replace", noted_replace)
    write_bytes(path, b"12345")
    assert events == [5, "rename", "folder"]


def test_a_writer_of_paths_gets_one_in_the_same_folder_with_the_same_suffix(tmp_path):
    path = tmp_path / "new" / "a.gif"
    with whole_file(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".gif"
        assert temporary != path
        temporary.write_text("done")
    assert list(path.parent.iterdir()) == [path]
    assert path.read_text() == "done"


def test_a_block_that_wrote_nothing_is_an_error_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.gif"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), whole_file(path):
        pass
    assert path.read_text() == "old"


def test_a_complete_file_is_moved_into_place(tmp_path):
    new, path = tmp_path / "a.tmp", tmp_path / "a.ckpt"
    new.write_text("new")
    path.write_text("old")
    move_into_place(new, path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "new"


def test_importing_it_needs_no_torch():
    program = "import sys, worldmodels.replay.files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
