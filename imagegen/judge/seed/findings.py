"""The problems of one seed, told so that anyone may read them."""

from __future__ import annotations

from typing import Any

import yaml

from imagegen.base.problems import Problem, Severity
from imagegen.judge.seed.limited_yaml import word

_PROBLEM_LIMIT = 200
_TEXT_LIMIT = 200


class Findings:
    """The problems of one seed, in the order they were found."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.problems: list[Problem] = []

    def error(self, name: str, what: str, hint: str, mark: yaml.Mark | None = None) -> None:
        """Note why cloud-init would not use the seed, or the document called ``name``."""
        self._add(Severity.ERROR, name, what, hint, mark)

    def warn(self, name: str, what: str, hint: str, mark: yaml.Mark | None = None) -> None:
        """Note what cloud-init would accept, but probably nobody meant."""
        self._add(Severity.WARNING, name, what, hint, mark)

    def _add(
        self, severity: Severity, name: str, what: str, hint: str, mark: yaml.Mark | None
    ) -> None:
        # A hostile document can hold a fault in every other byte.
        if len(self.problems) < _PROBLEM_LIMIT:
            where = f"{self._source}/{name}" if name else self._source
            if mark:
                where += f":{mark.line + 1}:{mark.column + 1}"
            self.problems.append(Problem(where=where, what=what, hint=hint, severity=severity))


def shown(value: Any) -> str:
    """Make a text from a seed fit for a terminal: one line, printable and short."""
    text = word(value)
    text = text if len(text) <= _TEXT_LIMIT else f"{text[:_TEXT_LIMIT]}..."
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
