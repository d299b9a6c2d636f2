"""imagegen snapshot: save a cluster's data."""

from pathlib import Path
from typing import Annotated

import typer

from imagegen.base.problems import ImagegenError
from imagegen.cli.shared import PkiOption, SpecArgument, parse_now

app = typer.Typer(help="Snapshots of a running cluster.", no_args_is_help=True)


@app.command()
def save(
    spec: SpecArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write.")],
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="NAME", help="Member to ask; it needs no quorum."),
    ] = None,
    pki: PkiOption = Path("pki"),
) -> None:
    """Save all the cluster holds, and check it; from a member that does not lead, if there is one.

    The file has no keys of ours in it, but all that clients wrote.
    """
    from imagegen.build.build import load_spec
    from imagegen.build.snapshot_file import save_snapshot
    from imagegen.cli.member import hands_of, look_at, members_of
    from imagegen.cluster.cluster import hex_id
    from imagegen.store.store import Store

    loaded = load_spec(spec, now=parse_now(None))
    store = Store(pki, loaded.spec.cluster)
    record = store.existing().record
    hands = hands_of(store)
    if source is None:
        view = look_at(hands, loaded, record)
        followers = sorted(view.healthy - {view.leader}) or sorted(view.healthy)
        chosen = max(followers, key=lambda number: view.statuses[number].raft_index)
        url, status = view.urls[chosen], view.statuses[chosen]
        names = ", ".join(sorted(m.name or hex_id(m.member_id) for m in view.members))
    else:
        urls = {member.name: member.client_url for member in members_of(loaded, record)}
        if source not in urls:
            raise ImagegenError(
                f"--from: {source} is no member", hint=f"members: {', '.join(sorted(urls))}"
            )
        url = urls[source]
        status = hands.caller.status(url)
        if status.cluster_id != record.cluster_id:
            raise ImagegenError(
                f"belongs to cluster {hex_id(status.cluster_id)}, not {hex_id(record.cluster_id)}",
                where=url,
            )
        names = ", ".join(sorted(record.present)) + " (as recorded)"
    saved = save_snapshot(hands.caller.snapshot(url), file, source=url)
    print(f"{file}: {saved.size} bytes, sha256 {saved.sha256}")
    print(f"  from {url}, etcd {status.version}, of cluster {hex_id(status.cluster_id)}")
    print(f"  revision {status.revision} or later; members: {names}")
