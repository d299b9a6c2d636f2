"""``imagegen init``: a spec to edit."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagegen.base.problems import ImagegenError

if TYPE_CHECKING:
    pass


def init(
    cluster: Annotated[str, typer.Option(help="The cluster's name.")] = "icc-etcd",
    members: Annotated[int, typer.Option(help="How many members; 3 or 5.", min=1)] = 5,
    first_address: Annotated[
        str, typer.Option(help="Address of the first member; the others follow.")
    ] = "10.240.0.11",
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File to write; - for standard output.")
    ] = Path("cluster.yaml"),
) -> None:
    """Write a commented spec to edit."""
    from imagegen.spec.starter import starter_spec

    text = starter_spec(cluster=cluster, members=members, first_address=first_address)
    if str(output) == "-":
        print(text, end="")
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ImagegenError(
            "already exists", where=str(output), hint="choose another file with -o"
        ) from None
    except OSError as error:
        raise ImagegenError(f"cannot write: {error.strerror}", where=str(output)) from None
    print(f"{output}: edit it, then: imagegen build {output}")
