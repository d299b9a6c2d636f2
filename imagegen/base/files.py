"""Writing files: private from their creation, whole by one rename, on the disk where promised.

Also the lock that keeps two runs from writing the same files at once.
"""

from __future__ import annotations

import fcntl
import os
import time
from functools import partial
from pathlib import Path
from typing import BinaryIO

#: For their owner alone: what may hold a private key.
PRIVATE = 0o600
PRIVATE_DIRECTORY = 0o700
#: Seconds between two attempts to take a lock.
ASK_EVERY = 0.05


def create(path: Path, *, mode: int = PRIVATE) -> BinaryIO:
    """A new file to write to, which has ``mode`` (less the umask) from its creation.

    Raises:
        FileExistsError: something is there; a link is not followed.
    """
    return open(path, "xb", opener=partial(os.open, mode=mode))  # Path.open takes no opener


def write_new(path: Path, data: bytes, *, mode: int = PRIVATE) -> None:
    """Write a file that is not there yet, with exactly this mode, and put it on the disk.

    Whoever needs its name to survive a crash calls :func:`sync_directory` too.
    """
    # Private first: nobody may open it before its mode is the one that was asked for.
    with create(path) as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        sync(file)


def replace_file(path: Path, data: bytes, *, mode: int = PRIVATE) -> None:
    """Replace a file, or make it, by one rename: after a crash it is the old or the new one."""
    new = unfinished(path)
    new.unlink(missing_ok=True)
    write_new(new, data, mode=mode)
    new.rename(path)
    sync_directory(path.parent)


def unfinished(path: Path) -> Path:
    """What a file is called until it is whole; found later, it was interrupted."""
    return path.with_name(f".{path.name}.new")


def sync(file: BinaryIO) -> None:
    """Put what was written to a file on the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Put the names in a directory on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private_directory(directory: Path) -> None:
    """Make a directory and those above it that are missing, each for its owner alone.

    ``Path.mkdir(parents=True)`` leaves the mode of those above to the umask.
    """
    if not directory.is_dir():
        make_private_directory(directory.parent)
        directory.mkdir(mode=PRIVATE_DIRECTORY)


def take_lock(descriptor: int, *, wait: float | None = None) -> bool:
    """Lock an open file or directory until its descriptor is closed; False if another holds it.

    ``wait`` is how many seconds to go on asking; None is for as long as it takes.
    """
    if wait is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    end = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(ASK_EVERY)
        else:
            return True
