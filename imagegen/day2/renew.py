"""New certificates in the place of those that a store has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from imagegen.base.problems import Problem, raise_errors
from imagegen.build.load import LoadedSpec
from imagegen.build.options import Options
from imagegen.cluster.cluster import Cluster
from imagegen.day2.certificates import clients_of, faults, list_certificates
from imagegen.day2.delivery import Delivery, pairs_of, write_deliveries
from imagegen.documents.names import RENEW
from imagegen.documents.templates import Templates
from imagegen.pki.issue import issue_pki
from imagegen.pki.leaves import DEFAULT_CLIENT, Role, client_leaves
from imagegen.pki.model import Pki, Renewal
from imagegen.store.identity import identity_for
from imagegen.store.record import record_of
from imagegen.store.store import Store, Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Which certificates to renew: of these members and clients, all if neither is named.

    With ``before`` only those that end within so many days from now.
    """

    members: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    before: int | None = None
    new_keys: bool = False
    #: Where the members' folders go; None is OUT/CLUSTER/renew.
    directory: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """What was signed and is in the store, or with ``--dry-run`` would be."""

    cluster: Cluster
    pki: Pki = field(repr=False)
    #: One line for each certificate that is new.
    signed: tuple[str, ...]
    warnings: tuple[Problem, ...]
    directory: Path
    #: Members whose folders are written there.
    members: tuple[str, ...]
    #: Clients whose certificates are others now, and of these those whose keys are.
    clients: tuple[str, ...]
    new_keys: tuple[str, ...]


def renew(
    loaded: LoadedSpec,
    options: Options,
    request: Request,
    *,
    announce: Callable[[Renewed], object] = id,
    dry_run: bool = False,
) -> Renewed:
    """Sign certificates anew, keep them as one generation of the store, and write the scripts.

    ``announce`` is told what will be done before it is done. The scripts follow
    from the store alone: a run that was interrupted after the signing is
    completed by another, with ``before`` 0 if nothing more is to be signed.

    Raises:
        ImagegenError: what was asked for cannot be signed or would not verify;
            the store is then as it was.
    """
    store = Store(options.pki, loaded.spec.cluster)
    with store.opened() as stored:
        plan = _renewed(loaded, options, request, stored)
        announce(plan)
        if dry_run:
            return plan
        store.save(record_of(plan.cluster, stored.record), plan.pki)
        deliveries = [
            Delivery(
                purpose="New certificates and keys" if request.new_keys else "New certificates",
                member=member,
                pairs=pairs_of(plan.cluster, member, plan.pki, new_keys=request.new_keys),
            )
            for member in plan.cluster.members
            if member.name in plan.members
        ]
        if deliveries:
            templates = Templates(options.templates)
            write_deliveries(plan.cluster, deliveries, plan.directory, templates)
    return plan


def _renewed(loaded: LoadedSpec, options: Options, request: Request, stored: Stored) -> Renewed:
    now, spec = options.now, loaded.spec
    identity = identity_for(spec, stored.record, now=now)
    cluster = Cluster(spec=spec, identity=identity)
    members, clients = _chosen(cluster, request)
    due = frozenset(_due(loaded, stored.pki, members, clients, request, now))
    issued = issue_pki(
        cluster,
        stored=stored.pki,
        imported=loaded.imported,
        now=now,
        renewal=Renewal(leaves=due, new_keys=request.new_keys),
        passphrase=options.passphrase,
    )
    raise_errors(faults(cluster, stored.pki, issued.pki, now))
    old, new = clients_of(stored.pki), clients_of(issued.pki)
    changed = tuple(name for name in new if new[name] != old.get(name))
    return Renewed(
        cluster=cluster,
        pki=issued.pki,
        signed=issued.notes,
        warnings=(*loaded.warnings, *stored.warnings, *issued.warnings),
        directory=request.directory or options.output / cluster.name / RENEW,
        members=tuple(members),
        clients=changed,
        new_keys=tuple(
            name for name in changed if name not in old or new[name].key_pem != old[name].key_pem
        ),
    )


def _chosen(cluster: Cluster, request: Request) -> tuple[list[str], list[str]]:
    """The names asked for, checked; all, if none are."""
    members = [member.name for member in cluster.members]
    clients = [leaf.owner for leaf in client_leaves(cluster)]
    raise_errors(
        Problem(where=option, what=f"{name} is not in the spec", hint=f"{', '.join(known)}")
        for option, names, known in (
            ("--member", request.members, members),
            ("--client", request.clients, clients),
        )
        for name in names
        if name not in known
    )
    if request.members or request.clients:
        return list(dict.fromkeys(request.members)), list(dict.fromkeys(request.clients))
    return members, clients


def _due(
    loaded: LoadedSpec,
    pki: Pki,
    members: Iterable[str],
    clients: Iterable[str],
    request: Request,
    now: datetime,
) -> Iterator[tuple[Role, str]]:
    """The leaves to sign anew, by role and owner.

    Raises:
        ProblemsError: one that was asked for by name is the operator's to bring.
    """
    brought = loaded.imported
    theirs = {("member", name) for name in (brought.members if brought else ())}
    if brought and brought.client:
        theirs.add(("client", DEFAULT_CLIENT))
    named = {("member", name) for name in request.members}
    named |= {("client", name) for name in request.clients}
    raise_errors(
        Problem(
            where=f"--{kind}",
            what=f"the certificate of {name} comes from pki.imports",
            hint="bring a new one there, then: imagegen build --force",
        )
        for kind, name in sorted(named & theirs)
    )
    wanted = {("member", name) for name in members} | {("client", name) for name in clients}
    for item in list_certificates(pki, now=now):
        kind = (item.kind, item.owner)
        soon = request.before is None or item.not_after - now < timedelta(days=request.before)
        if kind in wanted - theirs and soon:
            yield Role(item.role), item.owner
