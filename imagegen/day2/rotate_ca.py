"""Replacing a CA of a running cluster, in steps that overlap.

etcd reads the CAs it trusts only when it starts, and leaves at every handshake:

1. every member trusts both CAs (a rolling restart), and so does every caller;
2. every member and every caller has a certificate of the new CA (no restart);
3. every member trusts the new CA alone (a rolling restart).

Where a rotation stands is in the store. A step is left only when the members
themselves show that it is done on all of them.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from socket import create_connection
from urllib.parse import urlsplit

from imagegen.base.files import create
from imagegen.base.problems import ImagegenError, Problem, raise_errors
from imagegen.build.load import LoadedSpec
from imagegen.build.options import Options
from imagegen.cluster.cluster import Cluster, Member
from imagegen.day2.certificates import faults
from imagegen.day2.delivery import Delivery, pairs_of, trusted_cas, write_deliveries
from imagegen.documents.names import ROTATE_CA
from imagegen.documents.templates import Templates
from imagegen.live.client import Caller, RefusedError, UnreachableError, caller_of
from imagegen.pki.issue import issue_pki
from imagegen.pki.leaves import Leaf, Role, client_leaves, member_leaves
from imagegen.pki.model import CertificateAuthority, Pki, Renewal, Rotation
from imagegen.pki.pem import (
    KEY_MAKERS,
    certificates_in,
    certificates_pem,
    common_name_of,
    key_pem,
    revoked_in,
)
from imagegen.pki.sign import Signer, new_authority, sign_crl
from imagegen.store.identity import identity_for
from imagegen.store.store import Store

STEPS = {
    1: "trust the old and the new CA",
    2: "certificates of the new CA",
    3: "trust the new CA alone",
}
#: Of the certificate we show only to see whether a CA is trusted.
PROBE = "imagegen-probe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotating:
    """Where a rotation stands, or with ``--dry-run`` would stand; without ``step`` it is over."""

    cluster: Cluster
    pki: Pki = field(repr=False)
    name: str
    step: int | None
    #: Whether this run has brought it there.
    moved: bool
    #: The members in the order to go through them, the leader last.
    order: tuple[str, ...]
    leader: str | None
    warnings: tuple[Problem, ...]
    directory: Path


def rotate_ca(
    loaded: LoadedSpec,
    options: Options,
    name: str | None,
    *,
    go_on: bool = False,
    offline: bool = False,
    directory: Path | None = None,
    announce: Callable[[Rotating], object] = id,
    dry_run: bool = False,
) -> Rotating:
    """Begin the rotation of a CA, show where it stands, or go on to its next step.

    ``name`` is that of the CA's files; None is the only one, or the one being
    rotated. Run again, it shows the same step and writes the same scripts.

    Raises:
        ProblemsError: some members do not show that the present step is done.
        ImagegenError: there is nothing to go on with, or nothing to begin.
    """
    store = Store(options.pki, loaded.spec.cluster)
    with store.opened() as stored:
        spec = loaded.spec
        identity = identity_for(spec, stored.record, now=options.now)
        cluster = Cluster(spec=spec, identity=identity)
        name = _checked(stored.pki, name, loaded, go_on=go_on)
        if go_on and not offline:
            raise_errors(_undone(cluster, stored.pki, options, store))
        pki = stored.pki
        if go_on:
            pki = _next(cluster, pki, options)
        elif pki.rotation is None:
            pki = _begun(cluster, pki, name, options)
        leader = None if offline else _leader(cluster, store)
        names = [member.name for member in cluster.members if member.name != leader]
        plan = Rotating(
            cluster=cluster,
            pki=pki,
            name=name,
            step=pki.rotation.step if pki.rotation else None,
            moved=pki != stored.pki,
            order=(*names, leader) if leader else tuple(names),
            leader=leader,
            warnings=(*loaded.warnings, *stored.warnings),
            directory=directory or options.output / cluster.name / ROTATE_CA,
        )
        announce(plan)
        if dry_run:
            return plan
        store.save(stored.record, pki)
        if plan.step:
            deliveries = [
                Delivery(
                    purpose=f"Rotation of {name}, step {plan.step}: {STEPS[plan.step]}",
                    member=member,
                    pairs=pairs_of(cluster, member, pki),
                    # In step 2 members trust both already; only the order differs.
                    cas=() if plan.step == 2 else trusted_cas(cluster, pki),
                )
                for member in cluster.members
            ]
            write_deliveries(cluster, deliveries, plan.directory, Templates(options.templates))
    return plan


def _checked(pki: Pki, name: str | None, loaded: LoadedSpec, *, go_on: bool) -> str:
    """Which CA it is about."""
    here = [authority.name for authority in pki.authorities]
    rotation = pki.rotation
    if rotation is not None:
        if name in here and name != rotation.name:
            raise ImagegenError(
                f"{rotation.name} is being rotated, in step {rotation.step}",
                where=name,
                hint="finish that first: imagegen certs rotate-ca SPEC --next",
            )
        return rotation.name
    if go_on:
        raise ImagegenError(
            "no rotation is under way", hint="imagegen certs rotate-ca SPEC begins one"
        )
    if loaded.spec.pki.imports:
        raise ImagegenError(
            "the spec brings certificates of your own",
            where="pki.imports",
            hint="a CA that is yours is yours to replace: pki.imports may name a file with both "
            "CAs, first the one that signs",
        )
    if pki.one_ca:
        return pki.ca.name
    if name is None:
        raise ImagegenError("which CA?", hint="--client (clients and servers) or --peer")
    return name


# --- the steps ------------------------------------------------------------------------


def _begun(cluster: Cluster, pki: Pki, name: str, options: Options) -> Pki:
    plan = cluster.spec.pki
    old = _authority(pki, name)
    first = Signer(old, None).certificate
    # The CAs have names of their own: people and programs look an issuer up by its name.
    number = re.search(r" ([0-9]+)$", common_name_of(first))
    new = new_authority(
        name,
        cluster=cluster.name,
        algorithm=plan.algorithm,
        days=plan.ca_days,
        now=options.now.replace(microsecond=0),
        number=int(number[1]) + 1 if number else 2,
        passphrase=options.passphrase,
    )
    # That its key is here and opens is found out now, and not in the middle.
    _ = Signer(old, options.passphrase).key
    both = replace(old, certificate_pem=_bundle(old, new))
    return replace(_with(pki, both), rotation=Rotation(name=name, step=1, other=new))


def _next(cluster: Cluster, pki: Pki, options: Options) -> Pki:
    rotation = pki.rotation
    assert rotation is not None  # for mypy: _checked has seen to it
    signer, other, step = _authority(pki, rotation.name), rotation.other, rotation.step
    if step == 3:
        return replace(pki, rotation=None)
    if step == 2:
        alone = replace(signer, certificate_pem=_first(signer))
        return replace(_with(pki, alone), rotation=replace(rotation, step=3))
    old = replace(signer, certificate_pem=_first(signer))
    new = replace(other, name=rotation.name, certificate_pem=_bundle(other, old))
    pki = replace(_with(pki, new), rotation=replace(rotation, step=2, other=old))
    now = options.now.replace(microsecond=0)
    if pki.crl_pem and rotation.name == pki.ca.name:
        revoked = revoked_in(pki.crl_pem)
        crl = sign_crl(new, revoked, now=now, passphrase=options.passphrase)
        pki = replace(pki, crl_pem=crl)
    return _signed_anew(cluster, pki, rotation.name, now, options)


def _signed_anew(cluster: Cluster, pki: Pki, name: str, now: datetime, options: Options) -> Pki:
    """Every leaf of the CA of this name, for the same keys."""
    leaves = [leaf for member in cluster.members for leaf in member_leaves(cluster, member)]
    leaves += client_leaves(cluster)
    theirs = frozenset(
        (leaf.role, leaf.owner) for leaf in leaves if pki.authority_of(leaf.role).name == name
    )
    issued = issue_pki(
        cluster,
        stored=pki,
        now=now,
        renewal=Renewal(leaves=theirs),
        passphrase=options.passphrase,
    )
    raise_errors(faults(cluster, pki, issued.pki, now))
    return issued.pki


def _authority(pki: Pki, name: str) -> CertificateAuthority:
    return pki.ca if pki.ca.name == name else pki.peer_ca


def _with(pki: Pki, authority: CertificateAuthority) -> Pki:
    return replace(
        pki,
        ca=authority if pki.ca.name == authority.name else pki.ca,
        peer_ca=authority if pki.peer_ca.name == authority.name else pki.peer_ca,
    )


def _first(authority: CertificateAuthority) -> str:
    return certificates_pem(certificates_in(authority.certificate_pem)[:1])


def _bundle(signer: CertificateAuthority, other: CertificateAuthority) -> str:
    return _first(signer) + _first(other)


# --- what the members show ------------------------------------------------------------


def _undone(cluster: Cluster, pki: Pki, options: Options, store: Store) -> Iterator[Problem]:
    """Where the present step is not done yet, or cannot be seen to be."""
    rotation = pki.rotation
    assert rotation is not None  # for mypy: _checked has seen to it
    with store.scratch() as folder:
        by_signer = _probe(folder / "signer", pki, _authority(pki, rotation.name), options)
        by_other = _probe(folder / "other", pki, rotation.other, options)
        for member in cluster.members:
            for role, url in _ports(pki, member):
                what = ""
                try:
                    if rotation.step == 2:
                        what = _not_served(url, pki, member, role, by_signer)
                    elif not lets_in(by_other if rotation.step == 1 else by_signer, url, role):
                        what = "does not trust the new CA yet"
                    elif rotation.step == 3 and lets_in(by_other, url, role):
                        what = "still trusts the old CA"
                except UnreachableError as error:
                    what = error.problems[0].what
                if what:
                    yield Problem(
                        where=f"{member.name} {url}",
                        what=what,
                        hint=f"run its script of step {rotation.step}; --offline goes on without "
                        "looking",
                    )


def _ports(pki: Pki, member: Member) -> Iterator[tuple[Role, str]]:
    """Where the CA being rotated matters."""
    assert pki.rotation is not None  # for mypy
    if pki.rotation.name == pki.ca.name:
        yield Role.SERVER, member.client_url
    if pki.rotation.name == pki.peer_ca.name:
        yield Role.PEER, member.peer_url


def _probe(base: Path, pki: Pki, authority: CertificateAuthority, options: Options) -> Caller:
    """A caller with a certificate of this CA, in files that live as long as the question."""
    assert pki.rotation is not None  # for mypy
    # With one CA members go by this name at the peer port. No SANs: etcd would compare
    # them there with the address we call from.
    name = pki.peer_common_name or PROBE
    leaf = Leaf(owner=PROBE, role=Role.CLIENT, common_name=name, days=1)
    key = KEY_MAKERS["ecdsa-p256"]()
    certificate = Signer(authority, options.passphrase).sign(leaf, key, options.now)
    trusted = _bundle(_authority(pki, pki.rotation.name), pki.rotation.other)
    base.mkdir(mode=0o700)
    files = {"ca.pem": trusted, "certificate.pem": certificate, "key.pem": key_pem(key)}
    for file, text in files.items():
        with create(base / file) as new:
            new.write(text.encode("ascii"))
    return Caller(ca=base / "ca.pem", certificate=base / "certificate.pem", key=base / "key.pem")


def lets_in(caller: Caller, url: str, role: Role) -> bool:
    """Whether the member takes this caller's certificate.

    A member that is busy is asked again: that it said nothing is no refusal.

    Raises:
        UnreachableError: it could not be asked.
    """
    for last in (False, False, True):
        try:
            caller.call(url, "/members" if role is Role.PEER else "/version")
        except RefusedError:
            return True  # it was let in, to be told no
        except UnreachableError as error:
            cause = error.__cause__
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise  # it is we who refuse
            if isinstance(cause, ssl.SSLError | ConnectionResetError | BrokenPipeError):
                return False
            if last or not isinstance(cause, TimeoutError):
                raise
        else:
            return True
    raise AssertionError("the last attempt decides")


def _not_served(url: str, pki: Pki, member: Member, role: Role, caller: Caller) -> str:
    """How what is served differs from the store's certificate; empty if it does not."""
    own = pki.members[member.name]
    wanted = certificates_in(own.of(role).certificate_pem)[0]
    at = urlsplit(url)
    try:
        with (
            create_connection((at.hostname or "", at.port or 0), timeout=caller.timeout) as plain,
            caller.context().wrap_socket(plain, server_hostname=at.hostname) as tls,
        ):
            shown = certificates_in(ssl.DER_cert_to_PEM_cert(tls.getpeercert(True) or b""))[0]
    except OSError as error:
        return f"no TLS: {error.strerror or error}"
    if shown.serial_number != wanted.serial_number:
        return f"serves {shown.serial_number:x}, not {wanted.serial_number:x}"
    return ""


def _leader(cluster: Cluster, store: Store) -> str | None:
    """Who leads; None if nobody tells."""
    caller = caller_of(store.path)
    if not caller.certificate.exists():
        return None
    for member in cluster.members:
        try:
            leader = caller.status(member.client_url).leader
        except ImagegenError:
            continue
        return next((m.name for m in cluster.members if m.member_id == leader), None)
    return None
