"""What is wrong with a running cluster: what was found, judged by spec, record and clock.

Pure: nobody is asked here, and only :func:`remember` writes.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography import x509

from imagegen.base.instants import format_instant
from imagegen.base.problems import ImagegenError, Problem, Severity
from imagegen.cluster.cluster import Cluster, Member, RecordedMember, cluster_id, hex_id, member_id
from imagegen.documents import guest
from imagegen.etcd.advisories import release_problems
from imagegen.etcd.variables import Version
from imagegen.etcd.versions import corrupts, hop_problems
from imagegen.live.client import ListedMember
from imagegen.live.look import Look, Subject, side_of
from imagegen.pki.faults import SOON, check_leaf
from imagegen.pki.leaves import BACKDATED, DEFAULT_CLIENT, Leaf, Role, client_leaves, member_leaves
from imagegen.pki.pem import certificate_file, certificates_in
from imagegen.store.events import MemberAdded, Seen
from imagegen.store.names import client_pair, member_pair
from imagegen.store.store import Store

#: What etcd makes of its package's settings: one member, http://localhost:2380, the
#: default token. The same on every machine (etcd-io/etcd#8169, #11562).
ACCIDENTAL = 0xCDF818194E3A8C32
#: etcd's own, where nobody set another.
DEFAULT_TOKEN = "etcd-cluster"  # noqa: S105  # no secret: it only sets IDs apart
#: What etcd takes where the spec has no quota (etcd.io, dev-guide/limit).
DEFAULT_QUOTA = 2 * 1024**3
NEARLY_FULL = 0.8
#: A Date header counts whole seconds and is some time on its way.
SKEW = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding(Problem):
    """A problem of a running cluster; ``kind`` is its name for scripts."""

    kind: str

    def to_json(self) -> dict[str, str]:
        """All of it for scripts."""
        return {
            "kind": self.kind,
            "severity": str(self.severity),
            "where": self.where,
            "what": self.what,
            "hint": self.hint,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Quorum:
    """How many vote, how many of these answer, and how many it takes."""

    voters: int
    answering: int
    serves: bool

    @property
    def needed(self) -> int:
        """A majority."""
        return self.voters // 2 + 1


# --- judging --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Report:
    """How a cluster is: what was found, and what is wrong with it."""

    subject: Subject
    looks: tuple[Look, ...]
    at: datetime

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """All that is wrong, errors first, each once."""
        found = [one for one in self._judged if one.severity is not Severity.NOTE]
        return tuple(sorted(found, key=lambda finding: finding.severity is Severity.WARNING))

    @cached_property
    def notes(self) -> tuple[Finding, ...]:
        """What is worth knowing and not wrong, each once."""
        return tuple(one for one in self._judged if one.severity is Severity.NOTE)

    @cached_property
    def _judged(self) -> tuple[Finding, ...]:
        return tuple(dict.fromkeys(_Judging(self).run()))

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong but what is only worth knowing."""
        return not any(finding.severity is Severity.ERROR for finding in self.findings)

    @cached_property
    def ours(self) -> tuple[Look, ...]:
        """The members that answer and are of the recorded cluster."""
        wanted = self.subject.record.cluster_id
        return tuple(one for one in self.looks if one.status and one.cluster_id == wanted)

    @cached_property
    def listing(self) -> tuple[ListedMember, ...]:
        """Whom the cluster lists: by one that has a quorum, else by whoever knows."""
        wanted = self.subject.record.cluster_id
        known = [one for one in self.looks if one.cluster_id == wanted and one.listed]
        known.sort(key=lambda one: (bool(one.reads), one.listing is None))
        return known[0].listed if known else ()

    @cached_property
    def quorum(self) -> Quorum:
        """Counted among the listed, or if nobody answers, among those of the spec."""
        voters = {entry.member_id for entry in self.listing if not entry.is_learner}
        answering = {one.status.member_id for one in self.ours if one.status} & voters
        return Quorum(
            voters=len(voters) or len(self.looks),
            answering=len(answering),
            serves=any(not one.reads for one in self.ours),
        )

    @cached_property
    def seen_before(self) -> dict[str, int]:
        """The highest term, index and revision of this cluster so far."""
        record = self.subject.record
        seen = [
            event
            for event in record.events
            if isinstance(event, Seen) and event.cluster_id == record.cluster_id
        ]
        return {
            key: max((getattr(event, key) for event in seen), default=0) for key in Seen.COUNTERS
        }

    @cached_property
    def seen_now(self) -> dict[str, int]:
        """The highest term, index and revision of those that answer."""
        found = [one.status for one in self.ours if one.status]
        return {key: max((getattr(s, key) for s in found), default=0) for key in Seen.COUNTERS}

    @cached_property
    def known_ids(self) -> dict[str, int]:
        """Each name's latest recorded member ID: of the bootstrap, or observed since."""
        ids = {member.name: member.member_id for member in self.subject.record.members}
        for event in self.subject.record.events:
            if isinstance(event, MemberAdded | Seen):
                ids |= {member.name: member.member_id for member in event.members}
        return ids

    def observation(self) -> Seen | None:
        """What to remember of it; None where nobody has a quorum, or its data went back."""
        if not self.quorum.serves or any(f.kind == "data-lost" for f in self.findings):
            return None
        members = (
            RecordedMember(
                name=entry.name, peer_url=",".join(entry.peer_urls), member_id=entry.member_id
            )
            for entry in sorted(self.listing, key=lambda entry: entry.member_id)
        )
        return Seen(
            at=self.at,
            cluster_id=self.subject.record.cluster_id,
            members=tuple(members),
            **self.seen_now,
        )

    def tls_of(self, one: Look) -> str:
        """The verdict on a member's TLS, in a word or two."""
        return "ok" if one.status else _TLS_WORDS.get(side_of(one.trouble), "-")

    def state_of(self, one: Look) -> str:
        """How a member is, in a word or two."""
        if one.peer and one.peer.waiting:
            return "first boot"
        if one.cluster_id and one.cluster_id != self.subject.record.cluster_id:
            return "other cluster"
        if not one.status:
            if side_of(one.trouble) != "unreachable":
                return "TLS fails"
            return "not serving" if one.peer and one.peer.shown else "unreachable"
        if one.reads:
            return "no quorum"
        if one.status.is_learner:
            return "learner"
        return "leader" if one.status.leader == one.status.member_id else "follower"

    def days_left(self, shown: Sequence[x509.Certificate]) -> int | None:
        """Days until the certificate shown at a port ends."""
        return (shown[0].not_valid_after_utc - self.at).days if shown else None

    def to_json(self) -> dict[str, Any]:
        """All of it for scripts; IDs in hexadecimal, sizes in bytes, skew in seconds."""
        quorum = self.quorum
        return {
            "cluster": self.subject.cluster.name,
            "cluster_id": hex_id(self.subject.record.cluster_id),
            "at": format_instant(self.at),
            "healthy": self.healthy,
            "quorum": {
                "voters": quorum.voters,
                "answering": quorum.answering,
                "needed": quorum.needed,
                "serves": quorum.serves,
            },
            "highest": {"before": self.seen_before, "now": self.seen_now},
            "members": [self._member_json(one) for one in self.looks],
            "problems": [finding.to_json() for finding in self.findings],
            "notes": [finding.to_json() for finding in self.notes],
        }

    def _member_json(self, one: Look) -> dict[str, Any]:
        status, peer = one.status, one.peer
        recorded = self.known_ids.get(one.member.name)
        facts: dict[str, Any] = {
            "name": one.member.name,
            "client_url": one.member.client_url,
            "peer_url": one.member.peer_url,
            "state": self.state_of(one),
            "reachable": side_of(one.trouble) != "unreachable" or status is not None,
            "tls": self.tls_of(one),
            "trouble": _words(one.trouble) if one.trouble and not status else "",
            "recorded_id": hex_id(recorded) if recorded else None,
            "cluster_id": hex_id(one.cluster_id) if one.cluster_id else None,
            "server_certificate_days": self.days_left(one.shown),
            "peer_certificate_days": self.days_left(peer.shown) if peer else None,
            "peer_answers": bool(peer and not peer.trouble),
            "member_id": None,
        }
        if status:
            facts |= {
                "member_id": hex_id(status.member_id),
                "version": status.version,
                "leader": hex_id(status.leader) if status.leader else None,
                "is_learner": status.is_learner,
                "raft_term": status.raft_term,
                "raft_index": status.raft_index,
                "revision": status.revision,
                "db_size": status.db_size,
                "db_size_in_use": status.db_size_in_use,
                "quota": quota_of(self.subject.cluster, one.member),
                "serves_reads": not one.reads,
                "clock_skew": round(one.skew.total_seconds()) if one.skew is not None else None,
                "errors": [text.strip() for text in status.errors],
            }
        return facts


_TLS_WORDS = {"theirs": "server's fails", "ours": "ours refused", "no TLS": "no TLS"}


def quota_of(cluster: Cluster, member: Member) -> int:
    """How large a member's database may get, in bytes."""
    settings = cluster.settings(member, None)
    return int(settings.get("ETCD_QUOTA_BACKEND_BYTES", "0")) or DEFAULT_QUOTA


def _words(error: Exception | None) -> str:
    return error.problems[0].what if isinstance(error, ImagegenError) else str(error)


def judge(subject: Subject, looks: tuple[Look, ...], *, at: datetime) -> Report:
    """What the looks come to."""
    return Report(subject=subject, looks=looks, at=at)


def remember(subject: Subject, report: Report, root: Path) -> None:
    """Keep in the store what must be known next time; no write where nothing has changed.

    Raises:
        ImagegenError: the store cannot be written.
    """
    if (seen := report.observation()) is None:
        return
    store = Store(root, subject.cluster.name)
    with store.locked():
        stored = store.load()
        # Built anew as another cluster while we asked: what we heard is of the old one.
        if stored is not None and stored.record.store_id == subject.record.store_id:
            store.observe(seen)


class _Judging:
    """One run over a report: each method yields the findings of one subject."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.subject = report.subject
        self.cluster = report.subject.cluster
        self.record = report.subject.record
        self.pki = report.subject.stored.pki

    def run(self) -> Iterator[Finding]:
        yield from self.our_certificate()
        for one in self.report.looks:
            yield from self.reaching(one)
            yield from self.certificates(one)
            yield from self.identity(one)
            yield from self.clock(one)
            yield from self.database(one)
        yield from self.alarms()
        yield from self.membership()
        yield from self.having_quorum()
        yield from self.data()
        yield from self.versions()

    # -- certificates

    @cached_property
    def our_faults(self) -> list[Problem]:
        assert self.pki.client  # Subject.of has seen to it
        return self.faults(self.pki.client.certificate_pem, client_leaves(self.cluster)[0])

    def faults(self, pem: str, leaf: Leaf, at: datetime | None = None) -> list[Problem]:
        """What etcd would mind about a certificate of the store, dates and CA included."""
        try:
            chain = certificates_in(pem)
        except ValueError as error:
            return [Problem(where="", what=str(error))]
        return self.chain_faults(chain, leaf, at or self.report.at)

    def chain_faults(
        self, chain: Sequence[x509.Certificate], leaf: Leaf, at: datetime
    ) -> list[Problem]:
        roots = certificates_in(self.pki.authority_of(leaf.role).certificate_pem)
        found = check_leaf(chain, leaf, key=None, roots=roots, now=at)
        return [fault for fault in found if fault.severity is Severity.ERROR]

    def our_certificate(self) -> Iterator[Finding]:
        where = str(self.subject.store / certificate_file(client_pair(DEFAULT_CLIENT)))
        hint = "sign it anew: imagegen certs renew"
        for fault in self.our_faults:
            yield _error("client-certificate", where, f"our certificate {fault.what}", hint)
        assert self.pki.client
        mine = [(where, self.pki.client.certificate_pem)]
        for authority in self.pki.authorities:
            path = self.subject.store / certificate_file(authority.name)
            mine.append((str(path), authority.certificate_pem))
        for file, pem in mine:
            with contextlib.suppress(ValueError):
                yield from self.ending(file, certificates_in(pem)[0], hint)

    def ending(self, where: str, certificate: x509.Certificate, hint: str) -> Iterator[Finding]:
        end = certificate.not_valid_after_utc
        if timedelta() <= end - self.report.at < SOON:
            left = (end - self.report.at).days
            what = f"ends on {end:%Y-%m-%d}, {left} days from now"
            yield _warning("certificate-expiry", where, what, hint)

    def certificates(self, one: Look) -> Iterator[Finding]:
        """What is wrong with what a member shows at its two ports."""
        stored = self.pki.members.get(one.member.name)
        leaves = {leaf.role: leaf for leaf in member_leaves(self.cluster, one.member)}
        server = leaves.get(Role.SERVER) or leaves[Role.MEMBER]
        server = replace(server, sans=(), needed=frozenset({one.member.client_address}))
        yield from self.shown(
            one, "server", one.shown, server, stored.server.certificate_pem if stored else "",
            one.trouble,
        )  # fmt: skip
        if one.peer:
            peer = leaves.get(Role.PEER) or leaves[Role.MEMBER]
            peer = replace(peer, sans=(), needed=frozenset({one.member.peer_address}))
            yield from self.shown(
                one, "peer", one.peer.shown, peer, stored.peer.certificate_pem if stored else "",
                one.peer.trouble,
            )  # fmt: skip

    def shown(
        self,
        one: Look,
        port: str,
        shown: Sequence[x509.Certificate],
        leaf: Leaf,
        stored_pem: str,
        trouble: Exception | None,
    ) -> Iterator[Finding]:
        kind, where = f"{port}-certificate", f"{one.member.name}: {port} certificate"
        kept = certificates_in(stored_pem) if stored_pem else ()
        pair = member_pair(one.member.name, self.pki.role_at(Role(port)))
        path = self.subject.store / certificate_file(pair)
        good = kept and not self.chain_faults(kept, leaf, self.report.at)
        remedy = (
            f"put {path} and its key in its place; etcd reads them at each handshake"
            if good
            else "sign it anew: imagegen certs renew"
        )
        if not shown:
            if side_of(trouble) == "theirs":
                yield _error(kind, where, _words(trouble), remedy)
            return
        certificate = shown[0]
        # TLS 1.3 gives the first alone; those behind it are as we made or brought them.
        chain = (certificate, *(shown[1:] or kept[1:]))
        faults = [fault.what for fault in self.chain_faults(chain, leaf, self.report.at)]
        early = certificate.not_valid_before_utc > self.report.at
        for what in faults:
            hint = remedy
            if early and "not valid before" in what:
                hint = "which clock is right: ours, or that of the machine that signed it?"
            yield _error(kind, where, what, hint)
        if not faults and side_of(trouble) == "theirs":
            yield _error(kind, where, _words(trouble), remedy)
        if not faults and (skew := self.skew_of(one)):
            for fault in self.chain_faults(chain, leaf, self.report.at + skew):
                what = f"{fault.what}, by the member's own clock"
                yield _error(kind, where, what, "set the member's clock")
        yield from self.ending(where, certificate, remedy)
        yield from self.owner(kind, where, certificate, kept, one.member.name, remedy)

    def owner(
        self,
        kind: str,
        where: str,
        certificate: x509.Certificate,
        kept: Sequence[x509.Certificate],
        name: str,
        remedy: str,
    ) -> Iterator[Finding]:
        """Whose key it is."""
        if not kept or certificate == kept[0]:
            return
        if certificate.public_key() == kept[0].public_key():
            end, newer = certificate.not_valid_after_utc, kept[0].not_valid_after_utc
            what = f"is not the one in the store: it ends {end:%Y-%m-%d}, that one {newer:%Y-%m-%d}"
            yield _warning(kind, where, what, remedy)
            return
        others = [
            other
            for other, credentials in self.pki.members.items()
            for credential in (credentials.server, credentials.peer)
            if other != name
            and certificates_in(credential.certificate_pem)[0].public_key()
            == certificate.public_key()
        ]
        if others:
            hint = "has the machine another member's seed, or another member's address?"
            yield _error(kind, where, f"is for the key of {others[0]}", hint)
        else:
            what = "is for a key that the store does not have"
            yield _warning(kind, where, what, remedy)

    # -- reaching

    def is_foreign(self, one: Look) -> bool:
        return bool(one.cluster_id) and one.cluster_id != self.record.cluster_id

    def skew_of(self, one: Look) -> timedelta:
        """How far a member's clock is ahead, by either port; nothing below what we can tell."""
        told = one.skew if one.skew is not None else one.peer.skew if one.peer else None
        return told if told and abs(told) > SKEW else timedelta()

    def reaching(self, one: Look) -> Iterator[Finding]:
        """Why a member does not answer at its client port."""
        name, peer = one.member.name, one.peer
        if one.status or self.is_foreign(one):
            return
        if peer and peer.waiting:
            yield _error(
                "first-boot",
                name,
                "waits at its first boot until a majority of the others can be asked",
                f"power the others on; {guest.RESULT} on the member says whom it has heard",
            )
            return
        side = side_of(one.trouble)
        if side == "unreachable":
            what = f"does not answer at {one.member.client_url}: {_words(one.trouble)}"
            hint = f"on the member: systemctl status etcd, and {guest.RESULT}"
            if peer and peer.shown:
                what += "; at its peer port it does"
                # etcd opens both ports at once, and serves clients only as part of a cluster.
                hint = (
                    "etcd runs there and has not joined. It waits for a quorum; or it was started "
                    "with another token or another cluster's data: its log has the cluster ID"
                )
            yield _error("unreachable", name, what, hint)
        elif side == "no TLS":
            what = f"does not speak TLS at {one.member.client_url}: {_words(one.trouble)}"
            yield _error("no-tls", name, what, "is it etcd, with the settings of its seed?")
        elif side == "ours":
            what = f"refuses our client certificate: {_words(one.trouble)}"
            if self.our_faults:
                hint = "it is right to: see the problem with our certificate"
            elif skew := self.skew_of(one):
                hint = f"its clock is {_span(skew)} {_direction(skew)} ours"
            else:
                hint = (
                    "ours is good by our clock and our CA: look at the member's clock, at its "
                    "ETCD_TRUSTED_CA_FILE, which it reads only as it starts, and at its CRL"
                )
            yield _error("refused", name, what, hint)

    # -- identity

    def identity(self, one: Look) -> Iterator[Finding]:
        name = one.member.name
        if self.is_foreign(one):
            yield self.foreign(one)
        elif one.status and one.status.member_id != self.report.known_ids.get(name):
            yield from self.other_member(one, one.status.member_id)

    def foreign(self, one: Look) -> Finding:
        """Which other cluster a member belongs to, as far as that can be told."""
        name, other = one.member.name, hex_id(one.cluster_id)
        ours = hex_id(self.record.cluster_id)
        anew = f"if nobody needs its data: imagegen member replace {name}"
        if one.cluster_id == ACCIDENTAL:
            return _error(
                "accidental-cluster",
                name,
                f"is a cluster of its own, {other}: the one that the package starts by itself "
                "when it is installed without settings",
                f"its data directory is that one's, and not this cluster's; {anew}",
            )
        urls = {url for entry in one.listed for url in entry.peer_urls}
        known = {m.peer_url for m in (*self.record.members, *self.record.present.values())} | {
            m.peer_url for m in self.cluster.members
        }
        if (urls and urls <= known) or (one.peer and one.peer.waiting):
            by = ""
            ids = [member_id(entry.peer_urls, DEFAULT_TOKEN) for entry in one.listed]
            if cluster_id(ids) == one.cluster_id:
                by = f", here {DEFAULT_TOKEN}, which is etcd's default"
            return _error(
                "wrong-token",
                name,
                f"belongs to cluster {other}, not {ours}, with members at the same addresses: it "
                f"was bootstrapped with another token{by}, or has the data directory of an "
                "earlier bootstrap",
                f"compare ETCD_INITIAL_CLUSTER_TOKEN with {self.record.token}, which counts "
                f"only as long as the data directory is empty; {anew}",
            )
        listed = ", ".join(sorted(urls)) or "members unknown"
        return _error(
            "foreign-cluster",
            name,
            f"belongs to cluster {other} ({listed}), not to {ours}",
            f"does {one.member.client_url} lead to the right machine? If so, {anew}",
        )

    def other_member(self, one: Look, answered: int) -> Iterator[Finding]:
        name, recorded = one.member.name, self.report.known_ids.get(one.member.name)
        listed = {entry.member_id: entry for entry in self.report.listing}
        entry = listed.get(answered)
        if entry and entry.name == name and one.member.peer_url in entry.peer_urls:
            what = f"is member {hex_id(answered)} since it was added again"
            if recorded:
                what += f"; the record has {hex_id(recorded)}"
            yield _warning("member-id", name, what, "the cluster lists it so: it is remembered now")
            return
        others = {number: other for other, number in self.report.known_ids.items()}
        what = f"answers as member {hex_id(answered)}"
        if answered in others:
            what += f", which is {others[answered]}"
        what += f", not as {hex_id(recorded)}" if recorded else ""
        hint = f"does {one.member.client_url} lead to the right machine?"
        yield _error("member-id", name, what, hint)

    # -- one member's state

    def clock(self, one: Look) -> Iterator[Finding]:
        if skew := self.skew_of(one):
            make = _error if abs(skew) >= BACKDATED else _warning
            yield make(
                "clock-skew",
                one.member.name,
                f"its clock is {_span(skew)} {_direction(skew)} ours",
                "certificates begin an hour before they are signed, and no more: set the clocks",
            )

    def database(self, one: Look) -> Iterator[Finding]:
        if not one.status:
            return
        size, quota = one.status.db_size, quota_of(self.cluster, one.member)
        if size > quota * NEARLY_FULL:
            what = f"its database has {size / quota:.0%} of its quota, {size_text(quota)}"
            yield _warning("database", one.member.name, what, _ROOM)

    def alarms(self) -> Iterator[Finding]:
        """What members say of themselves and of others; in a status they need no quorum."""
        names = {number: name for name, number in self.report.known_ids.items()}
        names |= {entry.member_id: entry.name for entry in self.report.listing if entry.name}
        for one in self.report.ours:
            for text in one.status.errors if one.status else ():
                if alarm := re.fullmatch(r"memberID:(\d+) alarm:(\w+)\s*", text):
                    number, raised = int(alarm[1]), alarm[2]
                    what, hint = _ALARMS.get(raised, (f"has raised the alarm {raised}", ""))
                    name = names.get(number, hex_id(number))
                    yield _error(f"alarm-{raised.lower()}", name, f"{raised}: {what}", hint)
                elif "no leader" not in text:  # that is said with the quorum
                    yield _error("etcd-error", one.member.name, f"etcd says: {text}", "")

    # -- the cluster's state

    def membership(self) -> Iterator[Finding]:
        """Spec and cluster list the same members, and each of them votes."""
        listing = self.report.listing
        if not listing:
            return
        listed = {url: entry for entry in listing for url in entry.peer_urls}
        foreign = {one.member.name for one in self.report.looks if self.is_foreign(one)}
        for member in self.cluster.members:
            entry = listed.pop(member.peer_url, None)
            if entry is None:
                what = f"is in the spec, and the cluster lists no member at {member.peer_url}"
                hint = f"imagegen member add {member.name}"
                yield _error("not-listed", member.name, what, hint)
            elif not entry.client_urls and member.name not in foreign:
                what = f"is listed as {hex_id(entry.member_id)} and has never started"
                yield _error("not-started", member.name, what, "boot it from its seed")
            elif entry.name and entry.name != member.name:
                what = f"is listed as {entry.name}"
                hint = "etcd goes by IDs, people by names: see ETCD_NAME on the member"
                yield _warning("name", member.name, what, hint)
        for url, entry in listed.items():
            name = entry.name or "a member that has never started"
            what = f"the cluster lists {name} ({hex_id(entry.member_id)}, {url}), the spec does not"
            hint = "put it into the spec; or, if it is gone for good: imagegen member remove"
            yield _error("not-in-spec", self.cluster.name, what, hint)
        for entry in listing:
            if entry.is_learner:
                name = entry.name or ",".join(entry.peer_urls)
                hint = "etcdctl member promote gives it one, once it has caught up"
                what = f"{name} ({hex_id(entry.member_id)}) is a learner: it has no vote yet"
                yield _error("learner", self.cluster.name, what, hint)

    def having_quorum(self) -> Iterator[Finding]:
        quorum, where = self.report.quorum, self.cluster.name
        if quorum.serves:
            for one in self.report.ours:
                if one.reads:
                    what = f"serves no reads, while others do: {one.reads}"
                    hint = "it does not reach the others' peer ports, or they refuse it"
                    yield _error("cut-off", one.member.name, what, hint)
            return
        # Of these it is not known what they would say: etcd serves clients only as part of
        # a cluster with a quorum, and it may be we who are refused.
        mute = [one for one in self.report.looks if not one.status and self.runs(one)]
        missing = quorum.needed - quorum.answering - len(mute)
        counted = f"{quorum.answering} of {quorum.voters} voting members answer"
        if mute:
            run = "runs" if len(mute) == 1 else "run"
            counted += f", {len(mute)} more {run} without serving us"
        if missing > 0:
            what = f"has no quorum: {counted}, {quorum.needed} are needed, {missing} must come back"
            hint = "start those that are down; if their disks are gone for good, restore a snapshot"
        else:
            what = f"has no quorum that we can see: {counted}"
            hint = (
                "an election takes a few seconds: ask again with --wait 10s. If it stays so, mend "
                "what else is listed; if nothing is, they do not reach each other's peer ports"
            )
        yield _error("no-quorum", where, what, hint)

    def runs(self, one: Look) -> bool:
        """Whether an etcd of this cluster is there, going by its TLS at either port."""
        peer = one.peer
        shown = one.shown or (peer.shown if peer and not peer.waiting else ())
        return bool(shown) and not self.is_foreign(one)

    def data(self) -> Iterator[Finding]:
        """Whether the cluster has gone back behind what it had acknowledged before."""
        if not self.report.quorum.serves:
            return  # whoever answers may only lag behind
        before, now = self.report.seen_before, self.report.seen_now
        if now["raft_index"] >= before["raft_index"] and now["revision"] >= before["revision"]:
            return
        yield _error(
            "data-lost",
            self.cluster.name,
            f"has the recorded ID and not the recorded data: revision {now['revision']} and raft "
            f"index {now['raft_index']}, where {before['revision']} and {before['raft_index']} "
            "were seen before. All disks are new, or were put back to an older state",
            "stop the writers; restore a snapshot: imagegen build --from-snapshot FILE "
            "--new-cluster",
        )

    def versions(self) -> Iterator[Finding]:
        running: dict[str, Version] = {}
        for one in self.report.ours:
            with contextlib.suppress(ValueError):
                running[one.member.name] = Version.parse(one.status.version if one.status else "")
        if not running:
            return
        newest = max(running.values())
        if len({version.branch for version in running.values()}) > 1:
            listed = ", ".join(f"{name} {version}" for name, version in running.items())
            what = f"members run different minors: {listed}"
            hint = "finish the upgrade: the cluster stays at the oldest until then"
            yield _warning("versions", self.cluster.name, what, hint)
            older = {n: v for n, v in running.items() if v.minor < newest.minor}
            for what, hint in hop_problems(older, newest):
                yield _error("versions", self.cluster.name, what, hint)
        for name, version in running.items():
            if corrupts(version):
                what = f"runs etcd {version}, which corrupts data under load"
                yield _error("versions", name, what, "upgrade it to 3.5.3 or newer")
        for version in sorted(set(running.values())):
            for problem in release_problems(
                version,
                now=self.report.at,
                where=", ".join(name for name, one in running.items() if one == version),
                tracker=self.cluster.spec.package_tracker,
                settings=self.cluster.spec.etcd.settings,
            ):
                yield Finding(
                    kind="etcd-release",
                    where=problem.where,
                    what=problem.what,
                    hint=problem.hint,
                    severity=problem.severity,
                )


_ROOM = (
    "compact and defragment, one member after another (etcd.io, op-guide/maintenance), or raise "
    "etcd.quota"
)
_ALARMS = {
    "NOSPACE": (
        "its database has reached its quota, and the cluster takes no more writes",
        f"{_ROOM}; then: etcdctl alarm disarm",
    ),
    "CORRUPT": (
        "its data differs from that of the others",
        "replace it: imagegen member replace; the others are the majority",
    ),
}


def _error(kind: str, where: str, what: str, hint: str) -> Finding:
    return Finding(kind=kind, where=where, what=what, hint=hint)


def _warning(kind: str, where: str, what: str, hint: str) -> Finding:
    return Finding(kind=kind, where=where, what=what, hint=hint, severity=Severity.WARNING)


def _span(skew: timedelta) -> str:
    return str(timedelta(seconds=round(abs(skew).total_seconds())))


def _direction(skew: timedelta) -> str:
    return "ahead of" if skew > timedelta() else "behind"


def size_text(size: int) -> str:
    """A size in bytes, for people."""
    return f"{size / 1024**2:.1f} MiB" if size >= 1024**2 else f"{size / 1024:.0f} KiB"
