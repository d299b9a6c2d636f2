"""imagegen.build.output: all or nothing, and nothing of the user's lost."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

import pytest

from imagegen.base.problems import ImagegenError
from imagegen.build.output import Artifact, write_artifacts


def artifact(path: str, data: str = "x") -> Artifact:
    return Artifact(path=PurePosixPath(path), data=data.encode())


FIRST = (
    artifact("members/a/user-data", "a"),
    artifact("members/b/user-data", "b"),
    artifact("manifest.json", "1"),
)


def tree(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()
    }


def test_modes_whatever_the_umask(tmp_path):
    """Files are 0600 and directories 0700 even where the user is careless."""
    old = os.umask(0)
    try:
        write_artifacts(FIRST, tmp_path / "out", "c")
    finally:
        os.umask(old)
    for path in [tmp_path / "out/c", *(tmp_path / "out/c").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_identical_content_writes_nothing(tmp_path):
    """Not a single inode changes."""
    write_artifacts(FIRST, tmp_path, "c")
    before = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in (tmp_path / "c").rglob("*")}
    assert not write_artifacts(FIRST, tmp_path, "c")
    assert before == {
        p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in (tmp_path / "c").rglob("*")
    }


def test_other_content_needs_force_and_names_the_files(tmp_path):
    """Without force nothing is touched; with it, what changed is told."""
    write_artifacts(FIRST, tmp_path, "c")
    changed = (artifact("members/a/user-data", "A"), *FIRST[1:])
    with pytest.raises(ImagegenError) as caught:
        write_artifacts(changed, tmp_path, "c")
    assert "members/a/user-data" in caught.value.problems[0].where
    assert "--force" in caught.value.problems[-1].hint
    assert tree(tmp_path / "c")["members/a/user-data"] == "a"

    changes = write_artifacts(changed, tmp_path, "c", force=True)
    assert changes.changed == ("members/a/user-data",)
    assert tree(tmp_path / "c")["members/a/user-data"] == "A"


def test_what_is_not_made_any_more_is_removed_with_force_only(tmp_path):
    """It holds keys; what the user put beside it stays."""
    write_artifacts(FIRST, tmp_path, "c")
    (tmp_path / "c/members/notes").mkdir()
    (tmp_path / "c/notes.txt").write_text("mine")
    one = (FIRST[0], FIRST[2])
    with pytest.raises(ImagegenError, match="not made any more"):
        write_artifacts(one, tmp_path, "c", obsolete=["members/b/user-data"])
    changes = write_artifacts(one, tmp_path, "c", obsolete=["members/b/user-data"], force=True)
    assert changes.removed == ("members/b/user-data",)
    assert not (tmp_path / "c/members/b").exists()
    assert (tmp_path / "c/members/notes").is_dir()
    assert (tmp_path / "c/notes.txt").read_text() == "mine"


def test_a_member_alone_leaves_the_others(tmp_path):
    """Building one member does not count the others as gone."""
    write_artifacts(FIRST, tmp_path, "c")
    write_artifacts((FIRST[0], FIRST[2]), tmp_path, "c")
    assert (tmp_path / "c/members/b/user-data").exists()


def test_a_loosened_mode_counts_as_different(tmp_path):
    """A key that others can read is not up to date."""
    write_artifacts(FIRST, tmp_path, "c")
    (tmp_path / "c/members/a/user-data").chmod(0o644)
    with pytest.raises(ImagegenError):
        write_artifacts(FIRST, tmp_path, "c")
    write_artifacts(FIRST, tmp_path, "c", force=True)
    assert stat.S_IMODE((tmp_path / "c/members/a/user-data").stat().st_mode) == 0o600


def test_leftovers_of_an_interrupted_run_are_swept(tmp_path):
    """A killed run's half-written tree is neither used nor left lying about."""
    partial = tmp_path / ".c.partial/members"
    partial.mkdir(parents=True)
    (partial / "key").write_text("secret")
    write_artifacts(FIRST, tmp_path, "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c"]
    assert "secret" not in tree(tmp_path).values()


def test_a_file_in_the_way_is_explained(tmp_path):
    """No traceback where the output root is a file."""
    (tmp_path / "out").write_text("")
    with pytest.raises(ImagegenError) as caught:
        write_artifacts(FIRST, tmp_path / "out", "c")
    assert caught.value.problems[0].hint


def test_contents_are_in_no_repr():
    """Artifacts hold keys; a log line must not."""
    assert "secret" not in repr(artifact("a", "secret"))
