"""Writing a cluster's artifacts: all or none, and nothing of the user's lost.

A cluster's files are first written in full, with their final modes, to a
hidden sibling directory. A new cluster is then put in place by one rename; a
changed one file by file, its manifest last, so that an interrupted run is
visible as files that differ from their manifest and a second run completes it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from imagegen.base.files import (
    make_private_directory,
    sync_directory,
    take_lock,
    write_new,
)
from imagegen.base.problems import ImagegenError, Problem, ProblemsError
from imagegen.documents.names import MANIFEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file to write: where below the cluster's directory, what, and who may read it."""

    path: PurePosixPath
    data: bytes = field(repr=False)
    mode: int = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What writing a cluster's artifacts does, or did, to what was there."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def compare(
    artifacts: Iterable[Artifact], directory: Path, obsolete: Iterable[str] = ()
) -> Changes:
    """How ``directory`` differs from ``artifacts``, contents and modes.

    ``obsolete`` names files of an earlier build that are no longer wanted.

    Raises:
        ImagegenError: something there cannot be read.
    """
    added, changed = [], []
    for artifact in artifacts:
        path = directory / artifact.path
        try:
            same = (
                path.stat().st_size == len(artifact.data)
                and path.read_bytes() == artifact.data
                and path.stat().st_mode & 0o777 == artifact.mode
            )
        except FileNotFoundError:
            added.append(str(artifact.path))
        except OSError as error:
            raise _explained(error, path) from None
        else:
            if not same:
                changed.append(str(artifact.path))
    removed = [name for name in obsolete if (directory / name).exists()]
    return Changes(
        added=tuple(sorted(added)), changed=tuple(sorted(changed)), removed=tuple(sorted(removed))
    )


def write_artifacts(
    artifacts: Iterable[Artifact],
    root: Path,
    cluster: str,
    *,
    obsolete: Iterable[str] = (),
    force: bool = False,
) -> Changes:
    """Put one cluster's artifacts in place below ``root``.

    Returns what changed; identical content writes nothing. ``obsolete`` files
    of an earlier build are removed with ``force``, and their empty directories.

    Raises:
        ProblemsError: files differ from what is there and ``force`` was not given.
        ImagegenError: the file system refused; what was there is still there.
    """
    artifacts = sorted(
        artifacts, key=lambda artifact: (artifact.path.name == MANIFEST, artifact.path)
    )
    directory = root / cluster
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Looked at only once locked: another build may be putting the same in place.
        with _staged(root, cluster) as staging:
            exists = directory.is_dir()
            if exists:
                changes = compare(artifacts, directory, obsolete)
                if (changes.changed or changes.removed) and not force:
                    raise _refusal(directory, changes)
            else:
                changes = Changes(added=tuple(str(artifact.path) for artifact in artifacts))
            if not changes:
                return changes
            for artifact in artifacts:
                _write(staging / artifact.path, artifact)
            if exists:
                _replace(directory, staging, artifacts, changes)
            else:
                staging.rename(directory)
            sync_directory(root)
    except OSError as error:
        raise _explained(error, directory) from None
    return changes


def _refusal(directory: Path, changes: Changes) -> ProblemsError:
    problems = [
        Problem(where=str(directory / path), what="exists with other content")
        for path in changes.changed
    ] + [
        Problem(where=str(directory / path), what="is not made any more")
        for path in changes.removed
    ]
    last = problems.pop()
    hint = "pass --force to replace and remove these, or choose another --output"
    return ProblemsError([*problems, Problem(where=last.where, what=last.what, hint=hint)])


@contextmanager
def _staged(root: Path, cluster: str) -> Iterator[Path]:
    """A private directory beside the final one, to be made by what is written to it.

    It is gone afterwards; so is what an interrupted run has left, which holds
    keys, also where there is nothing left to write.
    """
    lock = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    staging = root / f".{cluster}.partial"
    try:
        # Held for the seconds of writing only, so waiting is right.
        take_lock(lock)
        shutil.rmtree(staging, ignore_errors=True)
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        os.close(lock)


def _write(path: Path, artifact: Artifact) -> None:
    make_private_directory(path.parent)
    write_new(path, artifact.data, mode=artifact.mode)


def _replace(
    directory: Path, staging: Path, artifacts: Iterable[Artifact], changes: Changes
) -> None:
    different = {*changes.added, *changes.changed}
    for artifact in artifacts:
        if str(artifact.path) in different:
            final = directory / artifact.path
            make_private_directory(final.parent)
            (staging / artifact.path).replace(final)
            sync_directory(final.parent)
    for name in changes.removed:
        _remove(directory / name, directory)


def _remove(path: Path, root: Path) -> None:
    """Remove a file, and the directories below ``root`` that are empty then."""
    path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder == root or any(folder.iterdir()):
            break
        folder.rmdir()


def _explained(error: OSError, path: Path) -> ImagegenError:
    reason = error.strerror or type(error).__name__
    return ImagegenError(
        f"cannot write: {reason}",
        where=str(error.filename or path),
        hint="free space or permissions on --output; nothing that was there is lost",
    )
