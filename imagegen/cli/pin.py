"""``imagegen pin``: files that bring etcd, by their digests."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagegen.base.problems import ImagegenError, Problem

if TYPE_CHECKING:
    pass


def pin(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Release archives as upstream names them, or .deb."),
    ],
    bundle: Annotated[
        bool, typer.Option("--bundle", help="The archives are to travel on the seeds.")
    ] = False,
) -> None:
    """Check local files and print the `install` section that pins them by their SHA-256.

    A digest says that a file is the one you have here. That this one is good is
    for you to know: compare it with what its publisher has announced elsewhere.
    """
    from imagegen.base.problems import raise_errors
    from imagegen.build.bundle import Pinned, install_section
    from imagegen.build.bundle import pin as pin_file

    pinned: list[Pinned] = []
    problems: list[Problem] = []
    for path in files:
        try:
            pinned.append(pin_file(path))
        except ImagegenError as error:
            problems += error.problems
    raise_errors(problems)
    print(install_section(pinned, bundle=bundle), end="")
