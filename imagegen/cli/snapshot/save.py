"""``imagegen snapshot save``: all that a cluster holds, in a file."""

from pathlib import Path
from typing import Annotated

import typer

from imagegen.cli.inputs import parse_now
from imagegen.cli.options import PKI, PkiOption, SpecArgument


def save(
    spec: SpecArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write.")],
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="NAME", help="Member to ask; it needs no quorum."),
    ] = None,
    pki: PkiOption = PKI,
) -> None:
    """Save all the cluster holds, and check it; from a member that does not lead, if there is one.

    The file has none of the keys that imagegen made, but all that clients wrote.
    """
    from imagegen.build.load import load_spec
    from imagegen.cluster.cluster import hex_id
    from imagegen.day2.snapshot import save_snapshot

    loaded = load_spec(spec, now=parse_now(None))
    saved = save_snapshot(loaded.spec, pki, file, name=source)
    status, url = saved.source.status, saved.source.url
    names = ", ".join(saved.source.members) + (" (as recorded)" if saved.source.as_recorded else "")
    print(f"{file}: {saved.snapshot.size} bytes, sha256 {saved.snapshot.sha256}")
    print(f"  from {url}, etcd {status.version}, of cluster {hex_id(status.cluster_id)}")
    print(f"  revision {status.revision} or later; members: {names}")
