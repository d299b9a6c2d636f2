"""``imagegen inspect``: what is on a seed."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagegen.cli.options import (
    JsonOption,
)

if TYPE_CHECKING:
    pass


def inspect(
    iso: Annotated[Path, typer.Argument(metavar="ISO", help="A seed ISO, ours or anyone's.")],
    as_json: JsonOption = False,
) -> None:
    """Show what is on a seed, and whether cloud-init would accept it."""
    from imagegen.judge.seed.image import read_image
    from imagegen.judge.seed.inspect import inspect_seed

    report = inspect_seed(read_image(iso), source=str(iso))
    if as_json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        print("\n".join(report.lines()))
    if not report.accepted:
        raise typer.Exit(1)
