"""Who a cluster is: its identity, recorded or made now."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime

from imagegen.base.problems import ImagegenError, Problem, ProblemsError
from imagegen.cluster.cluster import Cluster, Identity
from imagegen.spec.model import Spec
from imagegen.store.record import Record


def identity_for(
    spec: Spec,
    record: Record | None,
    *,
    now: datetime,
    new_cluster: bool = False,
    random_hex: Callable[[int], str] = secrets.token_hex,
) -> Identity:
    """The cluster's identity: recorded, or made now for a first build or ``new_cluster``.

    Raises:
        ProblemsError: the spec's members, peer URLs or token are not the
            recorded ones, each difference by name.
    """
    if record is None or new_cluster:
        if record is not None and spec.token == record.token:
            raise ImagegenError(
                f"--new-cluster needs a new token, and the spec sets {spec.token} again",
                where="token",
                hint="change it, or remove it to have a random one",
            )
        return Identity(
            store_id=random_hex(16),
            token=spec.token or f"{spec.cluster}-{random_hex(8)}",
            created=now.astimezone(UTC).replace(microsecond=0),
        )
    identity = Identity(
        store_id=record.store_id,
        token=record.token,
        created=record.created,
        bootstrap=record.members,
        joined=record.joined,
        restored=record.restored,
    )
    if problems := _differences(Cluster(spec=spec, identity=identity), record):
        raise ProblemsError(problems)
    return identity


def _differences(cluster: Cluster, record: Record) -> list[Problem]:
    wanted = {member.name: member.peer_url for member in cluster.members}
    recorded = {member.name: member.peer_url for member in record.present.values()}
    found: list[tuple[str, str, str]] = []
    for name in wanted.keys() - recorded.keys():
        what = f"{name} ({wanted[name]}) is not in the recorded cluster"
        found.append(("members", what, "imagegen member add"))
    for name in recorded.keys() - wanted.keys():
        what = f"{name} ({recorded[name]}) is in the recorded cluster, and not in the spec"
        found.append(("members", what, "imagegen member remove"))
    for name in wanted.keys() & recorded.keys():
        if wanted[name] != recorded[name]:
            what = f"{name} has moved from {recorded[name]} to {wanted[name]}"
            found.append(("members", what, "imagegen member replace"))
    token = cluster.spec.token
    if token is not None and token != record.token:
        found.append(("token", f"{token} is not the recorded {record.token}", ""))
    return [
        Problem(
            where=where,
            what=what,
            hint="etcd reads these only at its first start. Set it back, or start over as a new "
            "cluster with --new-cluster"
            + (f"; changing the running one is for `{command}`" if command else ""),
        )
        for where, what, command in sorted(found)
    ]
