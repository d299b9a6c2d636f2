"""Snapshot files: which are believed, and what is left when one is not."""

from __future__ import annotations

import hashlib
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagegen.base.problems import ImagegenError
from imagegen.build.snapshot_file import read_snapshot, write_snapshot
from tests.cli.test_cli import Run
from tests.conftest import EXAMPLES

DATABASE = bytes(range(256)) * 8
WHOLE = DATABASE + hashlib.sha256(DATABASE).digest()


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[n : n + size] for n in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 31, 33, 512, 5000])
def test_saved_whole_in_pieces_of_any_size(size: int, tmp_path: Path) -> None:
    """What was saved reads back, and is its owner's alone."""
    file = tmp_path / "db"
    saved = write_snapshot(pieces(WHOLE, size), file, source="a")
    assert saved == read_snapshot(file)
    assert (saved.size, saved.sha256) == (len(WHOLE), hashlib.sha256(WHOLE).hexdigest())
    assert file.read_bytes() == WHOLE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


DAMAGED = {
    "cut short": (WHOLE[:-1], "no whole snapshot"),
    "empty": (b"", "no whole snapshot"),
    "copied from a data directory": (DATABASE, "no whole snapshot"),
    "another page": (b"x" + WHOLE[1:], "damaged"),
    "another hash": (WHOLE[:-1] + b"x", "damaged"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_what_is_not_whole_is_not_believed(case: str, tmp_path: Path) -> None:
    """Neither as a file nor as it is sent, and nothing of it is left."""
    data, problem = DAMAGED[case]
    with pytest.raises(ImagegenError, match=problem):
        write_snapshot(pieces(data, 100), tmp_path / "db", source="a")
    assert not list(tmp_path.iterdir())
    (tmp_path / "db").write_bytes(data)
    with pytest.raises(ImagegenError, match=problem):
        read_snapshot(tmp_path / "db")


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("of yesterday")
    with pytest.raises(ImagegenError, match="already exists"):
        write_snapshot(pieces(WHOLE, 100), tmp_path / "db", source="a")
    assert (tmp_path / "db").read_text() == "of yesterday"


def test_a_member_that_breaks_off(tmp_path: Path) -> None:
    """Half a snapshot never has the file's name."""

    def broken() -> Iterator[bytes]:
        yield WHOLE[:100]
        raise ImagegenError("reset")

    with pytest.raises(ImagegenError, match="reset"):
        write_snapshot(broken(), tmp_path / "db", source="a")
    assert not list(tmp_path.iterdir())


def test_the_disc_belongs_to_what_was_built(tmp_path: Path) -> None:
    """check knows it, a later build keeps it, and the next new cluster takes it away."""
    shutil.copy(EXAMPLES / "smallest.yaml", tmp_path)
    (tmp_path / "db").write_bytes(WHOLE)
    build = ["build", "smallest.yaml", "--new-cluster", "--force"]
    disc = tmp_path / "out/small/snapshot.iso"
    assert Run(*build, "--from-snapshot", "db", cwd=tmp_path).status == 0
    assert Run("check", "out", cwd=tmp_path).status == 0
    assert "up to date" in Run("build", "smallest.yaml", cwd=tmp_path).out
    whole = disc.read_bytes()
    disc.write_bytes(whole[:-1])
    damaged = Run("check", "out", cwd=tmp_path)
    assert damaged.status == 1
    assert "snapshot.iso: differs from what was built" in damaged.err
    disc.write_bytes(whole)
    assert "removed: snapshot.iso" in Run(*build, cwd=tmp_path).out
    assert not disc.exists()
    assert Run("check", "out", cwd=tmp_path).status == 0
