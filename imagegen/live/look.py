"""What a running cluster says of itself: every member asked at once, nothing judged.

That is for :mod:`imagegen.live.findings`.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cryptography import x509

from imagegen.base.problems import ImagegenError
from imagegen.cluster.cluster import Cluster, Identity, Member
from imagegen.live.client import (
    TIMEOUT,
    Caller,
    ListedMember,
    Membership,
    RefusedError,
    Status,
    UnreachableError,
    caller_of,
)
from imagegen.live.handshake import shown_certificates
from imagegen.pki.leaves import Role
from imagegen.pki.pem import certificate_file, certificates_in, extension_of, key_file
from imagegen.spec.model import Spec
from imagegen.store.names import member_pair
from imagegen.store.record import Record
from imagegen.store.store import Store, Stored

Result = TypeVar("Result")


# --- what is found --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLook:
    """What a member says at its peer port, which it opens before it has a quorum.

    ``waiting`` is the first-boot program's answer: its etcd has not started.
    """

    cluster_id: int = 0
    member_id: int = 0
    members: tuple[ListedMember, ...] = ()
    waiting: bool = False
    skew: timedelta | None = None
    shown: tuple[x509.Certificate, ...] = ()
    trouble: Exception | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was found at one member's two ports.

    ``reads`` says why a read that needs a quorum was not served, and is empty
    where it was. ``skew`` is how far the member's clock is ahead of ours, if it told.
    """

    member: Member
    status: Status | None = None
    trouble: Exception | None = None
    listing: Membership | None = None
    reads: str = "not asked"
    skew: timedelta | None = None
    shown: tuple[x509.Certificate, ...] = ()
    peer: PeerLook | None = None

    @property
    def cluster_id(self) -> int:
        """The cluster the member says it is of, at either port; 0 if it says nothing."""
        return self.status.cluster_id if self.status else self.peer.cluster_id if self.peer else 0

    @property
    def listed(self) -> tuple[ListedMember, ...]:
        """Whom the member knows, by either port."""
        return self.listing.members if self.listing else self.peer.members if self.peer else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Which cluster is asked about: the spec, and what its store holds."""

    cluster: Cluster
    stored: Stored
    store: Path

    @classmethod
    def of(cls, spec: Spec, root: Path) -> Subject:
        """The cluster of a spec, as its store knows it; a spec that has changed since will do.

        Raises:
            ImagegenError: nothing was ever built from it, or the store is damaged.
        """
        store = Store(root, spec.cluster)
        stored = store.existing()
        if stored.pki.client is None:
            raise ImagegenError(
                "has no client certificate to ask the cluster with",
                where=str(store.path),
                hint="imagegen build makes it; or name another root with --pki",
            )
        record = stored.record
        identity = Identity(store_id=record.store_id, token=record.token, created=record.created)
        return cls(cluster=Cluster(spec=spec, identity=identity), stored=stored, store=store.path)

    @property
    def record(self) -> Record:
        """What the cluster was bootstrapped with, and has reported since."""
        return self.stored.record

    def caller(self, timeout: float) -> Caller:
        """Who asks at client ports."""
        return caller_of(self.store, timeout)

    def peer_caller(self, member: Member, timeout: float) -> Caller | None:
        """Who asks at a member's peer port; None where the store has no key for it.

        etcd answers there only who comes from an address that his certificate
        names (checkCertSAN): that member's, if we are on its machine. From
        anywhere else it ends the connection, but not before it has shown its own.
        """
        members = self.stored.pki.members
        source = _source_of(member)
        fitting = [
            name
            for name, credentials in members.items()
            if source and source in _addresses(credentials.peer.certificate_pem)
        ]
        name = (fitting or [member.name])[0]
        if name not in members:
            return None
        pki = self.stored.pki
        pair = member_pair(name, pki.role_at(Role.PEER))
        return Caller(
            self.store / certificate_file(pki.peer_ca.name),
            self.store / certificate_file(pair),
            self.store / key_file(pair),
            timeout,
        )


def _source_of(member: Member) -> object:
    """The address this machine would dial a member's peer port from, without dialling."""
    at = urlsplit(member.peer_url)
    family = socket.AF_INET6 if member.peer_address.version == 6 else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((at.hostname, at.port))
        return ip_address(probe.getsockname()[0])
    return None


def _addresses(certificate_pem: str) -> Sequence[object]:
    try:
        certificate = certificates_in(certificate_pem)[0]
    except ValueError:
        return ()
    names = extension_of(certificate, x509.SubjectAlternativeName)
    return names.get_values_for_type(x509.IPAddress) if names else ()


# --- looking --------------------------------------------------------------------------


def look(
    subject: Subject, *, clock: Callable[[], datetime], timeout: float = TIMEOUT
) -> tuple[Look, ...]:
    """Ask every member of the spec, all at the same time; none takes longer than five time-outs.

    Raises:
        ImagegenError: a file of the store cannot be used.
    """
    caller = subject.caller(timeout)
    caller.context()
    members = subject.cluster.members
    peers = [subject.peer_caller(member, timeout) for member in members]
    found = _at_once(
        [partial(_look_at_client_port, caller, member, clock) for member in members]
        + [
            partial(_look_at_peer_port, peer, member, clock)
            for peer, member in zip(peers, members, strict=True)
        ],
        within=5 * timeout,
    )
    looks, peer_looks = found[: len(members)], found[len(members) :]
    late = TimeoutError(f"not done within {5 * timeout:g} s")
    return tuple(
        replace(one, peer=peer)
        if isinstance(one, Look) and isinstance(peer, PeerLook | None)
        else Look(member=member, trouble=late)
        for member, one, peer in zip(members, looks, peer_looks, strict=True)
    )


def _at_once(tasks: Sequence[Callable[[], Result]], *, within: float) -> list[Result | None]:
    """Every task's result; None for what is not done in time, which is left to itself."""
    results: list[Result | None] = [None] * len(tasks)

    def run(index: int) -> None:
        results[index] = tasks[index]()

    threads = [Thread(target=run, args=(index,), daemon=True) for index in range(len(tasks))]
    for thread in threads:
        thread.start()
    end = time.monotonic() + within
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return list(results)


#: An answer that is none of etcd's ends in one of these.
_UNFIT = (KeyError, TypeError, ValueError, AttributeError)


def _look_at_client_port(caller: Caller, member: Member, clock: Callable[[], datetime]) -> Look:
    found = Look(member=member)
    url = member.client_url
    try:
        status = caller.status(url)
        skew = status.clock - clock() if status.clock else None
        found = replace(found, status=status, skew=skew, shown=_one(status.certificate))
        found = replace(found, listing=caller.membership(url))
        return replace(found, reads=_reads(caller, url) if status.leader else "it has no leader")
    except ImagegenError as error:
        if not found.status:
            found = replace(found, shown=_shown(error, url, caller.timeout))
        return replace(found, trouble=error)
    except _UNFIT:
        return replace(found, trouble=UnreachableError("answers, but not as etcd does", where=url))


def _reads(caller: Caller, url: str) -> str:
    """Why the member does not serve a read that needs a quorum; empty if it does."""
    try:
        # Of no key that anybody has. Unlike /health in 3.4, it leaves etcd's log as it is.
        caller.call(url, "/v3/kv/range", {"key": "AA==", "keys_only": True})
    except RefusedError as error:
        # With authentication on it is refused, but only once there was a quorum for it.
        unable = error.code in (4, 8, 14) or "no leader" in error.message
        return error.message if unable else ""
    except UnreachableError as error:
        return error.problems[0].what
    return ""


def _look_at_peer_port(
    caller: Caller | None, member: Member, clock: Callable[[], datetime]
) -> PeerLook | None:
    if caller is None:
        return None
    url = member.peer_url
    try:
        answer = caller.ask(url, "/members")
        skew = answer.clock - clock() if answer.clock else None
    except ImagegenError as error:
        return PeerLook(trouble=error, shown=_shown(error, url, caller.timeout))
    except _UNFIT:
        return PeerLook(trouble=UnreachableError("answers, but not as etcd does", where=url))
    said, shown = answer.document, _one(answer.certificate)
    try:
        if isinstance(said, dict):  # the first-boot program; etcd sends a list
            return PeerLook(
                cluster_id=int(said["cluster_id"], 16),
                member_id=int(said["member_id"], 16),
                waiting=bool(said["waiting"]),
                shown=shown,
            )
        return PeerLook(
            cluster_id=answer.cluster_id,
            # Right after a start etcd sends null: it has not read its log yet.
            members=tuple(_listed(entry) for entry in said or ()),
            skew=skew,
            shown=shown,
        )
    except _UNFIT:
        trouble = UnreachableError("answers, but not as etcd does", where=url)
        return PeerLook(shown=shown, trouble=trouble)


def _listed(entry: Mapping[str, Any]) -> ListedMember:
    return ListedMember(
        member_id=int(entry["id"]),
        name=entry.get("name", ""),
        peer_urls=tuple(entry.get("peerURLs") or ()),
        client_urls=tuple(entry.get("clientURLs") or ()),
        is_learner=entry.get("isLearner", False),
    )


def _one(der: bytes) -> tuple[x509.Certificate, ...]:
    try:
        return (x509.load_der_x509_certificate(der),)
    except ValueError:
        return ()


def _shown(error: Exception, url: str, timeout: float) -> tuple[x509.Certificate, ...]:
    """The certificates at a URL that gave no answer."""
    if isinstance(error, UnreachableError) and error.certificate:
        return _one(error.certificate)
    if side_of(error) == "unreachable":
        return ()
    try:
        return shown_certificates(url, timeout=timeout)
    except OSError:
        return ()


def side_of(error: Exception | None) -> str:
    """Why there was no answer: ``theirs``, a server's certificate, will not do; ``ours`` was
    refused; there was ``no TLS``; or the server was ``unreachable``.
    """
    cause = error.__cause__ if error else None
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "theirs"
    # RemoteDisconnected is a ConnectionResetError.
    dropped = ConnectionResetError | BrokenPipeError | ssl.SSLEOFError | ssl.SSLZeroReturnError
    if isinstance(cause, dropped):
        return "ours"
    if isinstance(cause, ssl.SSLError):
        return "ours" if "ALERT" in (cause.reason or "") else "no TLS"
    return "unreachable"
