"""The certificates of a store: which there are, and new ones in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from imagegen.base.instants import format_instant
from imagegen.base.problems import ImagegenError, Problem, Severity, raise_errors
from imagegen.build.build import LoadedSpec, Options
from imagegen.build.manifest import read_manifest
from imagegen.build.output import CLIENT
from imagegen.cluster.cluster import Cluster
from imagegen.day2.delivery import Delivery, pairs_of, write_deliveries
from imagegen.documents.templates import Templates
from imagegen.pki.faults import check_credential
from imagegen.pki.issue import issue_pki
from imagegen.pki.leaves import DEFAULT_CLIENT, Role, client_leaves, member_leaves
from imagegen.pki.model import CLIENT_CA, ONE_CA, Credential, Pki, Renewal
from imagegen.pki.pem import certificates_in, common_name_of, revoked_in
from imagegen.store.identity import identity_for
from imagegen.store.record import record_of
from imagegen.store.store import Store, Stored

#: With less left, `certs list` warns.
SOON_DAYS = 30
FOLDER = "renew"


# --- which there are ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One certificate of a store."""

    kind: str
    owner: str
    role: str
    common_name: str
    serial: int
    issuer: str
    not_after: datetime
    days_left: int
    #: Since when it is revoked.
    revoked: datetime | None
    #: Whether the last build has put this very one into its output; None if unknown.
    in_output: bool | None

    @property
    def name(self) -> str:
        """What it is called on the command line, and in the store."""
        return self.owner if self.kind == self.role else f"{self.owner} {self.role}"

    def to_json(self) -> dict[str, Any]:
        """As ``certs list --json`` prints it."""
        return {
            "kind": self.kind,
            "owner": self.owner,
            "role": self.role,
            "common_name": self.common_name,
            "serial": f"{self.serial:x}",
            "issuer": self.issuer,
            "not_after": format_instant(self.not_after),
            "days_left": self.days_left,
            "revoked": format_instant(self.revoked) if self.revoked else None,
            "in_output": self.in_output,
        }

    def problems(self) -> Iterator[Problem]:
        """That it ends soon, or has ended; nobody waits for one that is revoked."""
        if self.revoked or self.days_left >= SOON_DAYS:
            return
        ends = "has ended" if self.days_left < 0 else f"ends in {self.days_left} days"
        how = "rotate-ca" if self.kind == "ca" else "renew"
        yield Problem(
            where=self.name,
            what=f"{ends}, on {self.not_after:%Y-%m-%d}",
            hint=f"imagegen certs {how}",
            severity=Severity.WARNING,
        )


def list_certificates(pki: Pki, *, now: datetime, output: Path | None = None) -> list[Listed]:
    """Every certificate of the store: CAs, then members', then clients'.

    ``output`` is the cluster's directory of a build, to compare with.

    Raises:
        ImagegenError: a certificate, or the manifest there, cannot be read.
    """
    built = _built(output) if output else None
    revoked = revoked_in(pki.crl_pem)
    listed = []
    for kind, owner, role, pem in _certificates(pki):
        try:
            certificates = certificates_in(pem)
        except ValueError as error:
            raise ImagegenError(
                str(error), where=f"{owner} {role}", hint="restore the store from a backup"
            ) from None
        # A CA's file may hold further CAs to trust; a leaf's, only its chain.
        for certificate in certificates if kind == "ca" else certificates[:1]:
            serial, end = certificate.serial_number, certificate.not_valid_after_utc
            known = built is not None and (role, owner) in built
            listed.append(
                Listed(
                    kind=kind,
                    owner=owner,
                    role=role,
                    common_name=common_name_of(certificate),
                    serial=serial,
                    issuer=certificate.issuer.rfc4514_string(),
                    not_after=end,
                    days_left=(end - now) // timedelta(days=1),
                    revoked=revoked.get(serial) if kind != "ca" else None,
                    in_output=serial in built[role, owner] if built and known else None,
                )
            )
    return listed


def _certificates(pki: Pki) -> Iterator[tuple[str, str, str, str]]:
    """Kind, owner, role and PEM text of everything in the store."""
    for authority in pki.authorities:
        yield "ca", authority.name, "ca", authority.certificate_pem
    for name, member in pki.members.items():
        for role in pki.roles:
            yield "member", name, role, member.of(role).certificate_pem
    for name, client in clients_of(pki).items():
        yield "client", name, Role.CLIENT, client.certificate_pem


def clients_of(pki: Pki) -> dict[str, Credential]:
    """All clients' credentials; the default one is called ``client``."""
    return ({DEFAULT_CLIENT: pki.client} if pki.client else {}) | dict(pki.clients)


def _built(directory: Path) -> Mapping[tuple[str, str], set[int]]:
    """Serials in a build's output, by role and owner."""
    manifest = read_manifest(directory)
    if manifest is None:
        raise ImagegenError(
            "holds no build of this cluster", where=str(directory), hint="imagegen build"
        )
    found: dict[tuple[str, str], set[int]] = {}
    try:
        for member in manifest["members"]:
            for entry in member["certificates"]:
                role = Role.MEMBER if entry["role"] == "server and peer" else entry["role"]
                found[role, member["name"]] = {int(entry["serial"], 16)}
        for client in manifest["clients"]:
            found[Role.CLIENT, client["name"]] = {int(client["serial"], 16)}
        authorities = certificates_in((directory / CLIENT / "ca.pem").read_text(encoding="ascii"))
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ImagegenError(
            f"cannot be read as the output of a build: {error}",
            where=str(directory),
            hint="build the cluster anew with --force",
        ) from None
    serials = {certificate.serial_number for certificate in authorities}
    for name in (ONE_CA, CLIENT_CA):
        found["ca", name] = serials
    return found


# --- new ones -------------------------------------------------------------------------


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
        directory=request.directory or options.output / cluster.name / FOLDER,
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


def faults(cluster: Cluster, old: Pki, new: Pki, now: datetime) -> Iterator[Problem]:
    """What etcd would mind about certificates that were not there before."""
    before = set(_leaf_pems(old))
    leaves = [
        (leaf, _credential_of(new, leaf.role, leaf.owner))
        for leaf in (
            *(leaf for member in cluster.members for leaf in member_leaves(cluster, member)),
            *client_leaves(cluster),
        )
    ]
    for leaf, credential in leaves:
        if credential is None or credential.certificate_pem in before:
            continue
        yield from check_credential(
            credential,
            leaf,
            ca_pem=new.authority_of(leaf.role).certificate_pem,
            now=now,
            where=str(leaf),
            remedy="no leaf outlives its CA: imagegen certs rotate-ca",
        )


def _credential_of(pki: Pki, role: Role, owner: str) -> Credential | None:
    if role is Role.CLIENT:
        return clients_of(pki).get(owner)
    return pki.members[owner].of(role)


def _leaf_pems(pki: Pki) -> Iterator[str]:
    return (pem for kind, _, _, pem in _certificates(pki) if kind != "ca")
