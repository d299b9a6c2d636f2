"""A warning where git would take what is about to be written."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from imagegen.base.problems import Problem, Severity
from imagegen.cli.messages import say_problems

if TYPE_CHECKING:
    pass


def warn_in_work_tree(*roots: Path) -> None:
    """Warn where git would take what is about to be written, keys and all."""
    git = shutil.which("git")
    if not git:
        return
    for root in roots:
        # git knows its work tree by this name only; a loop of links is for later to find.
        place = Path(os.path.realpath(root))
        above = [path for path in place.parents if path.is_dir()] or [place]
        if "GIT_DIR" not in os.environ and not any((path / ".git").exists() for path in above):
            continue  # spares two programs
        # Asked of a file below the root, so that a rule for `out/` counts.
        answer = subprocess.run(  # noqa: S603  # git by its full path, arguments of our own
            [git, "check-ignore", "--quiet", str(place / "key")],
            cwd=above[0],
            capture_output=True,
            check=False,
        )
        if answer.returncode == 1:  # 0: ignored; 128: no work tree
            say_problems(
                [
                    Problem(
                        where=str(root),
                        what="is inside a git work tree that does not ignore it",
                        hint=f"private keys go there: add `{root.name}/` to .gitignore",
                        severity=Severity.WARNING,
                    )
                ]
            )
