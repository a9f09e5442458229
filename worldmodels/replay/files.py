"""Files that are written whole or not at all, and are on the disk once written.

At any moment, and after a crash too, a reader finds either the old file or the new one.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path | str, write: Callable[[BinaryIO], object]) -> None:
    """Writes a whole file or none of it; ``write`` receives it open for binary writing."""
    with whole_file(path) as temporary, temporary.open("wb") as file:
        write(file)


def write_bytes(path: Path | str, data: bytes) -> None:
    """Writes a whole file of bytes or none of it."""
    write_atomically(path, lambda file: file.write(data))


def write_text(path: Path | str, text: str) -> None:
    """Writes a whole text file (UTF-8) or none of it."""
    write_bytes(path, text.encode())


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """For writers that take a path: yields a temporary one, which becomes ``path`` at the end.

    When the block raises, ``path`` is as it was before and the temporary file is removed. Folders
    that do not exist are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, for a rename across file systems is a copy; with the same suffix, for
    # writers of pictures and videos choose the format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        move_into_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def move_into_place(temporary: Path, path: Path) -> None:
    """Renames a complete file of the same folder to ``path``, durably."""
    _sync(temporary)
    os.replace(temporary, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes new and renamed files of a folder durable."""
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
