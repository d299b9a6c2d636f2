"""Asking a running cluster: etcd's v3 API over mutually authenticated TLS.

The JSON gateway on the client port (etcd.io, dev-guide/api_grpc_gateway) needs
nothing but an HTTP client. It writes 64-bit numbers as strings, leaves out what
is zero, and answers errors with a code of gRPC's and a message.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from imagegen.base.problems import ImagegenError
from imagegen.pki.leaves import DEFAULT_CLIENT
from imagegen.pki.model import CLIENT_CA, ONE_CA
from imagegen.pki.pem import certificate_file, key_file
from imagegen.store.names import client_pair, has_one_ca

#: Seconds for one answer, unless told otherwise.
TIMEOUT = 5.0


class UnreachableError(ImagegenError):
    """Nobody answered at a URL: no connection, no TLS, or no HTTP.

    ``certificate`` is what the server showed (DER), where it was good and TLS got so far.
    """

    certificate = b""


class RefusedError(ImagegenError):
    """etcd answered, and said no; ``message`` has its own words."""

    def __init__(self, message: str, *, where: str, code: int) -> None:
        super().__init__(f"etcd says: {message}", where=where)
        self.message, self.code = message, code


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server said, and by what it can be told who said it, and when."""

    document: Any
    #: The cluster it names in a header, as etcd does at the peer port; else 0.
    cluster_id: int
    #: The server's own clock as it answered, to the second.
    clock: datetime | None
    #: The certificate it showed, DER.
    certificate: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedMember:
    """A member as the cluster lists it; one that never started has no name and no client URL."""

    member_id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """Who belongs to a cluster, as one of its members answers."""

    cluster_id: int
    members: tuple[ListedMember, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How one member is: sizes in bytes; ``leader`` is 0 where it knows of none."""

    cluster_id: int
    member_id: int
    version: str
    leader: int
    raft_term: int
    raft_index: int
    revision: int
    db_size: int
    db_size_in_use: int
    is_learner: bool
    errors: tuple[str, ...]
    #: The server's own clock as it answered, to the second.
    clock: datetime | None
    #: The certificate it showed, DER.
    certificate: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: files of a CA, a certificate and its key (a store's, or of ``client/``).

    Files, because OpenSSL takes a key from nothing else.
    """

    ca: Path
    certificate: Path
    key: Path
    timeout: float = TIMEOUT

    def context(self) -> ssl.SSLContext:
        """Trust this CA alone, check the name or address dialled, show our certificate.

        Raises:
            ImagegenError: one of the files cannot be used.
        """
        # Not create_default_context: from Python 3.13 on it is stricter about CA
        # certificates than etcd is, and the operator's own CA has to do for both.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(self.ca)
            context.load_cert_chain(self.certificate, self.key, password="")
        except OSError as error:
            raise ImagegenError(
                f"cannot be used: {error.strerror or error}",
                where=f"{self.certificate}, {self.key}, {self.ca}",
                hint="build the cluster, or see: imagegen check",
            ) from None
        return context

    def call(self, url: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Post ``body`` as JSON (or get, without one), and give what is answered.

        Raises:
            UnreachableError: nobody answered.
            RefusedError: etcd said no.
        """
        return self.ask(url, path, body).document

    def ask(self, url: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """:meth:`call`, with what else there was to see."""
        with self._asked(url, path, body) as (response, certificate):
            date = response.headers.get("Date")
            return Answer(
                document=_document(response.read(), url),
                cluster_id=int(response.headers.get("X-Etcd-Cluster-ID") or "0", 16),
                clock=parsedate_to_datetime(date) if date else None,
                certificate=certificate,
            )

    @contextmanager
    def _asked(
        self, url: str, path: str, body: Mapping[str, Any] | None
    ) -> Iterator[tuple[http.client.HTTPResponse, bytes]]:
        at = urlsplit(url)
        connection = http.client.HTTPSConnection(
            at.hostname or "", at.port, context=self.context(), timeout=self.timeout
        )
        certificate = b""
        try:
            connection.connect()
            certificate = connection.sock.getpeercert(binary_form=True) or b""
            method = "GET" if body is None else "POST"
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            if response.status != 200:
                raise _refusal(response, url)
            yield response, certificate
        except (OSError, http.client.HTTPException) as error:
            problem = UnreachableError(reason_of(error, self.timeout), where=url)
            problem.certificate = certificate
            raise problem from error
        finally:
            connection.close()

    def status(self, url: str) -> Status:
        """How the member at ``url`` is."""
        answer = self.ask(url, "/v3/maintenance/status", {})
        said = answer.document
        header = said["header"]
        return Status(
            cluster_id=int(header["cluster_id"]),
            member_id=int(header["member_id"]),
            version=said.get("version", ""),
            leader=int(said.get("leader", 0)),
            raft_term=int(said.get("raftTerm", 0)),
            raft_index=int(said.get("raftIndex", 0)),
            revision=int(header.get("revision", 0)),
            db_size=int(said.get("dbSize", 0)),
            db_size_in_use=int(said.get("dbSizeInUse", 0)),
            is_learner=said.get("isLearner", False),
            errors=tuple(said.get("errors", ())),
            clock=answer.clock,
            certificate=answer.certificate,
        )

    def membership(self, url: str) -> Membership:
        """Whom the member at ``url`` lists, by its own knowledge: it needs no quorum for it."""
        return _membership(self.call(url, "/v3/cluster/member/list", {}))

    def is_healthy(self, url: str) -> bool:
        """Whether the member serves reads that need a quorum."""
        try:
            return bool(self.call(url, "/health").get("health") == "true")
        except RefusedError:  # status 503: it has no quorum, or an alarm
            return False

    def add_learner(self, url: str, peer_urls: tuple[str, ...]) -> tuple[ListedMember, Membership]:
        """List a member that has no vote until it is promoted; the new one, and all there are."""
        body = {"peerURLs": list(peer_urls), "isLearner": True}
        said = self.call(url, "/v3/cluster/member/add", body)
        return _listed(said["member"]), _membership(said)

    def promote(self, url: str, member_id: int) -> Membership:
        """Give a learner its vote; etcd refuses as long as it is not in sync."""
        body = {"ID": str(member_id)}
        return _membership(self.call(url, "/v3/cluster/member/promote", body))

    def remove(self, url: str, member_id: int) -> Membership:
        """Take a member off the list, for good: its ID never comes back."""
        return _membership(self.call(url, "/v3/cluster/member/remove", {"ID": str(member_id)}))

    def move_leader(self, url: str, member_id: int) -> None:
        """Have the leader, who must be the one at ``url``, hand over to another member."""
        self.call(url, "/v3/maintenance/transfer-leadership", {"targetID": str(member_id)})

    def snapshot(self, url: str) -> Iterator[bytes]:
        """The member's database, piece by piece, with its SHA-256 as the last 32 bytes."""
        with self._asked(url, "/v3/maintenance/snapshot", {}) as (response, _):
            for line in response:
                said = _document(line, url)
                if "error" in said:
                    raise RefusedError(str(said["error"]), where=url, code=0)
                yield base64.b64decode(said["result"].get("blob", ""))


def caller_of(store: Path, timeout: float = TIMEOUT) -> Caller:
    """The client of a store, the directory of one cluster; its files are looked at when used."""
    client = client_pair(DEFAULT_CLIENT)
    return Caller(
        ca=store / certificate_file(ONE_CA if has_one_ca(store) else CLIENT_CA),
        certificate=store / certificate_file(client),
        key=store / key_file(client),
        timeout=timeout,
    )


def reason_of(error: Exception, timeout: float = TIMEOUT) -> str:
    """Why there was no answer, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate will not do: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, socket.gaierror):
        return f"the name does not resolve: {error.strerror}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"no HTTP answer: {error!r}"


def _refusal(response: http.client.HTTPResponse, url: str) -> RefusedError:
    text = response.read()
    try:
        said = json.loads(text)
        message, code = said.get("message") or said.get("error"), int(said.get("code", 0))
    except (ValueError, AttributeError, TypeError):
        message, code = "", 0
    return RefusedError(message or f"HTTP status {response.status}", where=url, code=code)


def _document(text: bytes, url: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise UnreachableError("answers, but not as etcd does", where=url) from None


def _membership(said: Mapping[str, Any]) -> Membership:
    header = said["header"]
    return Membership(
        cluster_id=int(header["cluster_id"]),
        members=tuple(map(_listed, said["members"])),
    )


def _listed(said: Mapping[str, Any]) -> ListedMember:
    return ListedMember(
        member_id=int(said["ID"]),
        name=said.get("name", ""),
        peer_urls=tuple(said.get("peerURLs", ())),
        client_urls=tuple(said.get("clientURLs", ())),
        is_learner=said.get("isLearner", False),
    )
