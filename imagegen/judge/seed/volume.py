"""Whether cloud-init finds the seed: its label, and the files that must be on it."""

from __future__ import annotations

import re

from imagegen.judge.seed.findings import Findings, shown
from imagegen.media.iso_reader import Seed
from imagegen.media.nocloud import LABELS, REQUIRED


def check_volume(seed: Seed, found: Findings) -> None:
    """Note why NoCloud would not find the seed, or not all of its files."""
    if seed.label not in LABELS:
        found.error(
            "",
            f"the volume label is {shown(seed.label) or 'empty'}: "
            f"cloud-init looks for {' or '.join(LABELS)} only",
            "build the seed with the volume label cidata",
        )
    for name in REQUIRED:
        if not seed.find(name):
            _report_missing(seed, name, found)
    if seed.rock_ridge is None and seed.joliet is None:
        found.warn(
            "",
            "the volume has neither Rock Ridge nor Joliet, which carry names like user-data",
            "build the seed with both: genisoimage -joliet -rock",
        )
    joliet = {file.name: file.content for file in seed.joliet or ()}
    for file in seed.rock_ridge or ():
        if joliet.get(file.name, file.content) != file.content:
            found.warn(
                shown(file.name),
                "Rock Ridge and Joliet show different contents; Linux reads Rock Ridge's",
                "build the seed again",
            )


def _report_missing(seed: Seed, name: str, found: Findings) -> None:
    """Say that a required file is missing, and what may have become of it."""
    alike = next((file.name for file in seed.files if _is_alike(file.name, name)), None)
    if alike:
        found.error(
            "",
            f"{name} is missing; {shown(alike)} is not the name cloud-init looks for",
            "keep the exact name, with Rock Ridge and Joliet: genisoimage -joliet -rock",
        )
    else:
        found.error(
            "",
            f"{name} is missing: cloud-init skips a seed without it",
            f"put {name} into the root directory, even if it is empty",
        )


def _is_alike(actual: str, name: str) -> bool:
    """Whether a name looks like another after upper-casing, cutting to 8.3 or an added suffix."""
    stem = re.sub("[^a-z]", "", actual.lower().split(".")[0])
    wanted = name.replace("-", "")
    return stem == wanted or (len(stem) >= 7 and wanted.startswith(stem))
