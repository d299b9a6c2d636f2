"""``imagegen check``: every problem of what exists."""

from pathlib import Path
from typing import Annotated

import typer

from imagegen.base.problems import Severity
from imagegen.cli.inputs import parse_now
from imagegen.cli.messages import say_problems
from imagegen.cli.options import NowOption


def check(
    path: Annotated[Path, typer.Argument(metavar="SPEC|OUTPUT-DIR|ISO", help="What to check.")],
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are errors.")] = False,
    now: NowOption = None,
) -> None:
    """Report every problem of a spec, an output directory or a seed ISO."""
    from imagegen.judge.path import check_path

    problems = check_path(path, now=parse_now(now))
    say_problems(problems)
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    warnings = sum(problem.severity is Severity.WARNING for problem in problems)
    print(f"{path}: {errors} errors, {warnings} warnings")
    if errors or (strict and warnings):
        raise typer.Exit(1)
