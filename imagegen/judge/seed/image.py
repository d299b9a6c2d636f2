"""A disk image's bytes, to be judged as a seed."""

from __future__ import annotations

from pathlib import Path

from imagegen.base.problems import ImagegenError

#: Seeds are kilobytes; nothing larger is read to be judged as one.
LARGEST_IMAGE = 256 * 1024 * 1024


def read_image(path: Path) -> bytes:
    """A disk image's bytes.

    Raises:
        ImagegenError: it cannot be read, or is far too large for a seed.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_IMAGE + 1)
    except OSError as error:
        raise ImagegenError(f"cannot read: {error.strerror}", where=str(path)) from None
    if len(data) > LARGEST_IMAGE:
        raise ImagegenError("is too large for a seed", where=str(path), hint="256 MiB at most")
    return data
