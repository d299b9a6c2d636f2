"""What was built, and what the operator does now."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from imagegen.base.problems import Problem
from imagegen.cli.messages import say_notes, say_problems
from imagegen.documents.names import BUNDLE_DISC, CLIENT, KEYS, KEYS_DISC, SNAPSHOT_DISC
from imagegen.spec.secrets import Secrets

if TYPE_CHECKING:
    from imagegen.build.build import Built
    from imagegen.build.options import Options, Start


def report_built(built: "Built", told: Collection[Problem]) -> None:
    """What was built: notes and warnings to standard error, a table to standard output.

    What was told of an earlier cluster and names no place is the same for this one.
    """
    from imagegen.cluster.cluster import hex_id

    say_problems(problem for problem in built.warnings if problem not in told)
    say_notes(built.notes)
    cluster, changes = built.cluster, built.changes
    print(
        f"{cluster.name}: {len(cluster.members)} members, cluster ID "
        f"{hex_id(cluster.cluster_id)}, token {cluster.token}"
    )
    width = max(len(member.name) for member in cluster.members)
    for member in cluster.members:
        print(f"  {member.name:<{width}}  {hex_id(member.member_id):>16}  {member.client_url}")
    if not changes:
        print(f"{built.directory}: up to date, nothing written")
        return
    for verb, paths in (("changed", changes.changed), ("removed", changes.removed)):
        for path in paths:
            print(f"  {verb}: {path}")
    print(
        f"{built.directory}: {len(changes.added)} files added, {len(changes.changed)} changed, "
        f"{len(changes.removed)} removed"
    )


def next_steps(results: "list[Built]", options: "Options") -> str:
    """What the operator does now."""
    from imagegen.build.options import secrets_for
    from imagegen.documents import guest
    from imagegen.targets import load_target

    chosen = [load_target(name) for name in options.targets]
    attach = "; ".join(target.attach for target in chosen)
    spec = results[0].cluster.spec
    ways = {secrets_for(target, spec, options) for target in chosen}
    if Secrets.SPLIT in ways:
        attach += (
            f"; each needs its {KEYS_DISC} too, which the scripts attach: first boot waits for it"
        )
    if Secrets.EXTERNAL in ways:
        attach += f"; put the files of {KEYS}/ into {spec.pki.directory} on the member, "
        attach += "or first boot waits"
    one = results[0]
    if one.cluster.identity.restored and options.start:
        attach += "; " + snapshot_step(options.start, one)
    if spec.install.bundled and not all(target.carries_bundle for target in chosen):
        attach += f"; attach {one.directory / BUNDLE_DISC} too, or first boot waits for it"
    client = one.directory / CLIENT
    fleet = "" if len(results) == 1 else "  (the same for each cluster)\n"
    return f"""
Next:
{fleet}  1. {attach}.
  2. Power the machines on, in any order. Each installs and starts etcd by itself.
  3. Watch: each console says `imagegen: NAME: healthy`, and so does
     {guest.RESULT} on the member. From here:
       (cd {client} && set -a && . ./etcdctl.env && etcdctl member list -w table)
     The member IDs must be those above.
  4. Detach and delete what holds private keys: {_holders(ways)}.
  Keep {options.pki / one.cluster.name}, and a backup of it: only that cannot be rebuilt."""


def snapshot_step(start: "Start", built: "Built") -> str:
    """How the snapshot reaches the members."""
    from imagegen.documents import guest

    if start.snapshot.fits_a_disc:
        disc = built.directory / SNAPSHOT_DISC
        return f"attach {disc} to every machine too, or first boot waits for it"
    return (
        f"put {start.snapshot.path} on every machine as {guest.SNAPSHOT}, as root: it is too "
        "large for a disc of ours, and first boot waits for it"
    )


def _holders(ways: "set[Secrets]") -> str:
    holders = {
        Secrets.EMBED: "user-data and the seeds",
        Secrets.SPLIT: KEYS_DISC,
        Secrets.EXTERNAL: f"{KEYS}/",
    }
    return ", ".join(holder for way, holder in holders.items() if way in ways)
