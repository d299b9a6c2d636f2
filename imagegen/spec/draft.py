"""A spec as far as it could be read: what its checks are asked about.

Reading collects values one by one, and some of them may be missing or wrong.
They are collected here, apart from the :class:`~imagegen.spec.model.Spec`,
which exists only when all of it could be read. A record is in the draft only
when it is whole, so a check never meets a setting that is None against its type.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias, TypeVar

import yaml

from imagegen.base.problems import Severity

T = TypeVar("T")

Path: TypeAlias = tuple[str | int, ...]
Shape: TypeAlias = str | type[str] | type[int]
"""One part of a path: a key, or ``str`` for any key, or ``int`` for any index."""


class PathProblem(NamedTuple):
    """A problem with the setting at a path; the reader knows its line and column."""

    path: Path
    what: str
    hint: str = ""
    severity: Severity = Severity.ERROR


class Draft:
    """The values of one spec that could be read, by their paths.

    What could not be read has been reported and has no value here. A setting
    that was left out has its default.
    """

    def __init__(self) -> None:
        #: Every path that stands in the file, read well or not.
        self.places: dict[Path, yaml.Node] = {}
        self.values: dict[Path, Any] = {}

    def get(self, cls: type[T], *path: str | int) -> T | None:
        """The value at ``path``; None if it has none of that type."""
        value = self.values.get(path)
        return value if isinstance(value, cls) else None

    def each(self, cls: type[T], *shape: Shape) -> Iterator[tuple[Path, T]]:
        """The values of that type at every path of that shape, in the order of the file.

        ``each(str, "members", int, "name")`` are the names of all members.
        """
        for path, value in self.values.items():
            if len(path) == len(shape) and isinstance(value, cls) and all(map(_fits, path, shape)):
                yield path, value

    def knows(self, *path: str | int) -> bool:
        """Whether the setting could be read, or was left out."""
        return path in self.values

    def count(self, *shape: Shape) -> int:
        """How many paths of that shape stand in the file, read well or not."""
        return sum(len(path) == len(shape) and all(map(_fits, path, shape)) for path in self.places)


def _fits(part: str | int, shape: Shape) -> bool:
    return isinstance(part, shape) if isinstance(shape, type) else part == shape
