"""``imagegen check``: recognizing what a path is, and every problem of it.

A path is a spec, an output directory or a seed.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from imagegen.base.problems import ImagegenError, Problem
from imagegen.build.load import etcd_problems, load_spec
from imagegen.judge.member import MemberDocuments
from imagegen.judge.output import check_output
from imagegen.judge.seed.image import read_image
from imagegen.judge.seed.inspect import inspect_seed
from imagegen.media.iso_reader import read_seed

_ISO_MAGIC = (32769, b"CD001")


def check_path(path: Path, *, now: datetime) -> list[Problem]:
    """Every problem of whatever ``path`` is: a spec, an output directory or an ISO.

    Raises:
        ImagegenError: it is none of them, or cannot be read.
    """
    if path.is_dir():
        return check_output(path, now=now)
    try:
        with path.open("rb") as file:
            file.seek(_ISO_MAGIC[0])
            is_image = file.read(5) == _ISO_MAGIC[1] or path.suffix.lower() == ".iso"
    except OSError as error:
        raise ImagegenError(f"cannot read: {error.strerror}", where=str(path)) from None
    if is_image:
        return check_image(path, now=now)
    try:
        loaded = load_spec(path, now=now)
        return [*loaded.warnings, *etcd_problems(loaded, now)]
    except ImagegenError as error:
        return list(error.problems)


def check_image(path: Path, *, now: datetime) -> list[Problem]:
    """What cloud-init, and then etcd, would mind about a seed."""
    try:
        data = read_image(path)
        problems = list(inspect_seed(data, source=str(path)).problems)
        user_data = read_seed(data, source=str(path)).find("user-data")
    except ImagegenError as error:
        return list(error.problems)
    if user_data:
        member = MemberDocuments.read(f"{path}: user-data", user_data.content)
        problems += member.problems(now)
    return problems
