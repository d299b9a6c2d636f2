"""What can go wrong in ways a user can mend, and how it is said.

Every problem names where it is, what is wrong and how to fix it (see
CONTRIBUTING.md, "Errors"). Library code raises; ``imagegen.cli.entry`` alone prints.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """Whether a problem stops the work (error), asks for something to be done (warning), or is
    only worth knowing (note), which no ``--strict`` minds.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One finding, in the user's words.

    ``where`` is a place the user can open: ``cluster.yaml:14:14``, a path, or
    a setting's name. It never holds a secret, and neither does ``what``.
    """

    where: str
    what: str
    hint: str = ""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        hint = f"\nhint: {self.hint}" if self.hint else ""
        return f"{self.severity}: {place}{self.what}{hint}"


class ImagegenError(Exception):
    """A problem we can explain; the command line turns it into text and exit status 1."""

    def __init__(self, what: str, *, hint: str = "", where: str = "") -> None:
        super().__init__(what)
        self.problems: tuple[Problem, ...] = (Problem(where=where, what=what, hint=hint),)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))

    def __reduce__(self) -> tuple[object, ...]:
        # Worker processes hand their errors over pickled; the arguments of
        # __init__ differ between subclasses, the problems do not.
        return (_unpickled, (type(self), self.args, self.problems))


def _unpickled(
    cls: type[ImagegenError], args: tuple[object, ...], problems: tuple[Problem, ...]
) -> ImagegenError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.problems = problems
    return error


class ProblemsError(ImagegenError):
    """Several problems found in one pass; raised once, with all of them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        found = tuple(problems)
        super().__init__("; ".join(problem.what for problem in found))
        self.problems = found


def raise_errors(problems: Iterable[Problem]) -> None:
    """Raise :class:`ProblemsError` if any problem is an error; warnings pass."""
    found = tuple(problems)
    if any(problem.severity is Severity.ERROR for problem in found):
        raise ProblemsError(found)
