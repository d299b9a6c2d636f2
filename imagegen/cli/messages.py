"""What commands say beside their output: problems, notes, and how far they are."""

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TextIO, TypeVar

from imagegen.base.problems import Problem

Item = TypeVar("Item")

#: What a command ends with that was only to show what it would do.
DRY_RUN = "nothing is done: --dry-run"


def say_problems(problems: Iterable[Problem], *, file: TextIO | None = None) -> None:
    """Print problems, warnings too, to standard error or elsewhere; a shared hint once."""
    listed = list(problems)
    for index, problem in enumerate(listed):
        if listed[index + 1 : index + 2] and listed[index + 1].hint == problem.hint:
            problem = replace(problem, hint="")
        print(problem, file=file or sys.stderr)


def say_notes(notes: Iterable[str]) -> None:
    """Print what is worth knowing and no problem, to standard error."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def with_progress(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """The items, and from the second second on how many of them are done.

    Said on standard error if that is a terminal; erased while whoever takes an
    item prints of it.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    begun = time.monotonic()
    try:
        for done, item in enumerate(items, 1):
            sys.stderr.write("\r\x1b[K")
            yield item
            if done < total and time.monotonic() - begun > 1:
                sys.stdout.flush()
                bar = "#" * (30 * done // total)
                sys.stderr.write(f"[{bar:30}] {done} of {total} {what}")
                sys.stderr.flush()
    finally:
        sys.stderr.write("\r\x1b[K")
