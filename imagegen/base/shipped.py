"""Files that travel with the package for users to take and change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from imagegen.base.files import PRIVATE, PRIVATE_DIRECTORY, create
from imagegen.base.problems import ImagegenError, Problem, ProblemsError


def shipped_directory(name: str) -> Path:
    """Where a folder of ours is: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parents[1]
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


def export(files: Mapping[str, bytes], directory: Path, *, private: bool = False) -> list[Path]:
    """Write files by their paths below ``directory``, all or none; returns where they are.

    ``private`` ones are for their owner alone; the others' scripts are executable.

    Raises:
        ImagegenError: a file is already there, or cannot be written.
    """
    targets = [directory / name for name in files]
    present = [path for path in targets if path.exists() or path.is_symlink()]
    if present:
        raise ProblemsError(
            Problem(where=str(path), what="already exists", hint="choose an empty directory")
            for path in present
        )
    written: list[Path] = []
    try:
        directory.mkdir(mode=PRIVATE_DIRECTORY if private else 0o777, parents=True, exist_ok=True)
        for target, content in zip(targets, files.values(), strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            mode = PRIVATE if private else 0o777 if content.startswith(b"#!") else 0o666
            with create(target, mode=mode) as file:
                written.append(target)
                file.write(content)
    except OSError as error:
        for path in written:
            path.unlink()
        raise ImagegenError(
            f"cannot write: {error.strerror}", where=str(error.filename or directory)
        ) from None
    return targets
