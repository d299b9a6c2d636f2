"""Files are private from their creation, and whole or not there."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from imagegen.base.files import (
    create,
    make_private_directory,
    replace_file,
    take_lock,
    unfinished,
    write_new,
)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask():
    """The umask that hides a mode that was left to chance."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_file_is_private_from_its_creation(tmp_path, open_umask):
    """Before its first byte, whatever the umask."""
    with create(tmp_path / "key.pem"):
        assert mode_of(tmp_path / "key.pem") == 0o600


def test_a_file_has_exactly_the_mode_asked_for(tmp_path):
    """A script is executable whatever the umask."""
    before = os.umask(0o077)
    try:
        write_new(tmp_path / "run.sh", b"#!/bin/sh\n", mode=0o755)
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "run.sh") == 0o755


def test_a_link_is_not_followed(tmp_path):
    """Whoever can write to the directory cannot have keys written elsewhere."""
    (tmp_path / "key.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "key.pem", b"a key")
    assert not (tmp_path / "elsewhere").exists()


def test_a_replacement_is_the_old_file_or_the_new_one(tmp_path, monkeypatch):
    """Whoever reads at the moment of the rename has one of the two, whole and on the disk."""
    path = tmp_path / "record"
    path.write_bytes(b"old")
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_ino), real(fd)))
    rename = Path.rename

    def watched(new, target):
        assert path.read_bytes() == b"old"
        assert new.read_bytes() == b"new"
        assert new.stat().st_ino in synced
        return rename(new, target)

    monkeypatch.setattr(Path, "rename", watched)
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert tmp_path.stat().st_ino == synced[-1]


def test_what_an_interrupted_replacement_left_is_in_nobodys_way(tmp_path):
    """It may be shorter, longer or of another mode."""
    path = tmp_path / "record"
    unfinished(path).write_bytes(b"left by a run that was killed")
    unfinished(path).chmod(0o644)
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert mode_of(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_every_directory_made_is_private(tmp_path, open_umask):
    """Those above it too, which mkdir leaves to the umask."""
    make_private_directory(tmp_path / "a/b/c")
    assert [mode_of(tmp_path / name) for name in ("a", "a/b", "a/b/c")] == [0o700] * 3


def test_a_lock_is_waited_for_and_no_longer_than_asked(tmp_path):
    """One holds it at a time; closing gives it to the next."""
    first, second = (os.open(tmp_path, os.O_RDONLY) for _ in range(2))
    assert take_lock(first)
    assert not take_lock(second, wait=0.1)
    threading.Timer(0.1, os.close, [first]).start()
    assert take_lock(second, wait=30)
    os.close(second)
