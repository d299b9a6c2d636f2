"""A NoCloud seed: a member's documents on an ISO 9660 image that cloud-init looks for.

Labels and names of documents: docs.cloud-init.io, reference/datasources/nocloud.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from imagegen.media.iso9660 import SeedError
from imagegen.media.iso_reader import SIZE_LIMIT
from imagegen.media.iso_writer import build_image

LABELS = ("cidata", "CIDATA")
REQUIRED = ("user-data", "meta-data")

#: Every file NoCloud looks for.
NOCLOUD = (*REQUIRED, "network-config", "vendor-data")


def build_seed(
    files: Mapping[str, bytes],
    *,
    when: datetime,
    label: str = "cidata",
    bundle: Mapping[str, bytes] | None = None,
) -> bytes:
    """Put a member's documents on a NoCloud seed; see :func:`build_image`.

    ``bundle`` are more files for the member; cloud-init does not look at them.

    Raises:
        SeedError: cloud-init would ignore such a seed, or a file on it.
    """
    _check_input(files, label)
    return build_image({**(bundle or {}), **files}, when=when, label=label)


def _check_input(files: Mapping[str, bytes], label: str) -> None:
    if label not in LABELS:
        raise SeedError(
            f"{label!r} is not a label cloud-init looks for", hint=f"use {' or '.join(LABELS)}"
        )
    for name in REQUIRED:
        if name not in files:
            raise SeedError(
                f"cloud-init ignores a seed without {name}", hint="add it, even if empty"
            )
    for name in files:
        if name not in NOCLOUD:
            raise SeedError(
                f"{name!r} is not a file NoCloud reads", hint=f"use {', '.join(NOCLOUD)}"
            )
    if sum(map(len, files.values())) > SIZE_LIMIT // 2:
        raise SeedError(
            f"the documents are larger than {SIZE_LIMIT // 2} bytes",
            hint="let the member download large files instead",
        )
