"""imagegen.live.look: real clusters in every state that has a name."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import typer

from imagegen.base.problems import Severity
from imagegen.cli.inputs import parse_duration
from imagegen.cluster.cluster import Cluster, cluster_id, hex_id, member_id
from imagegen.live.client import Caller, RefusedError
from imagegen.live.findings import ACCIDENTAL, Report, judge, remember
from imagegen.live.handshake import shown_certificates
from imagegen.live.look import Subject, look
from imagegen.pki.issue import issue_pki
from imagegen.pki.model import Pki
from imagegen.pki.pem import certificates_in
from imagegen.store.record import record_of
from imagegen.store.store import Store
from tests.conftest import make_cluster, require_program
from tests.first_boot.lab import Lab, Member, eventually
from tests.releases import install_section

NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=1000)


def real_clock() -> datetime:
    return datetime.now(UTC)


class Site:
    """A spec, its store, and members on loopback addresses with the store's credentials."""

    def __init__(self, folder: Path, *, etcd: str = "3.5", size: int = 3, spec: str = "") -> None:
        self.etcd = etcd
        self.lab = Lab(folder / "lab", size=size)
        self.members = self.lab.members
        self.text = self.spec_with(spec)
        self.path = folder / "cluster.yaml"
        self.path.write_text(self.text)
        self.root = folder / "pki"
        self.cluster = self.cluster_of(self.text)
        assert self.cluster.cluster_id == self.lab.cluster_id
        # A CA of some age, so that it could have signed what has long expired.
        old = issue_pki(self.cluster, stored=None, now=LONG_AGO).pki
        self.pki = self.issue(authorities=old)
        self.save(self.cluster, self.pki)
        for member in self.members:
            self.hand_out(member, self.pki)
        self.lab.client_ca.path.write_text(self.pki.ca.certificate_pem)
        self.lab.peer_ca.path.write_text(self.pki.peer_ca.certificate_pem)

    def spec_with(self, more: str = "", *, members: str = "", address: str = "") -> str:
        """The spec's text, with settings or members added, or all at another address."""
        listed = "".join(
            # All loopback addresses are dialled from 127.0.0.1.
            f"  - {{name: {m.name}, address: {address or m.address}, "
            "extra_addresses: [127.0.0.1]}\n"
            for m in (self.members[:1] if address else self.members)
        )
        return f"cluster: icc-etcd\ntoken: '{self.lab.token}'\n{more}\nmembers:\n{listed}{members}"

    def cluster_of(self, text: str) -> Cluster:
        return make_cluster(text)

    def issue(self, text: str = "", *, authorities: Pki | None = None, now: datetime = NOW) -> Pki:
        """Credentials of the same CAs, for this or another spec, signed now or at another time."""
        empty = replace(authorities or self.pki, members={}, client=None, clients={})
        return issue_pki(self.cluster_of(text or self.text), stored=empty, now=now).pki

    def save(self, cluster: Cluster, pki: Pki) -> None:
        store = Store(self.root, cluster.name)
        with store.locked():
            store.save(record_of(cluster), pki)

    @property
    def observed(self) -> tuple[Any, ...]:
        stored = Store(self.root, self.cluster.name).load()
        assert stored
        return stored.record.observed

    def hand_out(self, member: Member, pki: Pki, name: str = "") -> None:
        """Put a member's credentials in place, as on its machine; etcd need not be told."""
        credentials = pki.members[name or member.name]
        for base, credential in (("server", credentials.server), ("peer", credentials.peer)):
            (member.folder / f"pki/{base}.pem").write_text(credential.certificate_pem)
            (member.folder / f"pki/{base}-key.pem").write_text(credential.key_pem)

    def start(self, member: Member, *flags: str, etcd: str = "") -> subprocess.Popen[bytes]:
        """Start etcd, with some flags more or in the place of others."""
        changed = {flag.partition("=")[0] for flag in flags}
        command = [f for f in member.etcd_command()[1:] if f.partition("=")[0] not in changed]
        program = require_program(f"etcd-{etcd or self.etcd}")
        return self.lab.spawn([program, *command, *flags], member)

    def form(self, *members: Member, flags: tuple[str, ...] = ()) -> dict[str, Any]:
        """Start these members, or all, and wait until they take writes."""
        running = {m.name: self.start(m, *flags) for m in members or self.members}
        for member in members or self.members:
            eventually(lambda member=member: member.put("formed", "yes"))
        return running

    def report(
        self,
        text: str = "",
        *,
        clock: Callable[[], datetime] = real_clock,
        timeout: float = 2,
    ) -> Report:
        """What status finds now."""
        subject = Subject.of(self.cluster_of(text or self.text).spec, self.root)
        return judge(subject, look(subject, clock=clock, timeout=timeout), at=clock())

    @property
    def caller(self) -> Caller:
        return Subject.of(self.cluster.spec, self.root).caller(5)

    def run(self, *arguments: object, spec: Path | None = None) -> subprocess.CompletedProcess[str]:
        """The command, as its user runs it."""
        return subprocess.run(
            [sys.executable, "-m", "imagegen", "status", str(spec or self.path),
             "--pki", str(self.root), *map(str, arguments)],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip


@pytest.fixture(params=["3.4", "3.5"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site whose etcd is of one version, then of the other; nothing runs yet."""
    site = Site(tmp_path, etcd=request.param)
    yield site
    site.lab.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site; nothing runs yet."""
    site = Site(tmp_path)
    yield site
    site.lab.close()


def found(report: Report) -> set[tuple[str, str]]:
    """Kind and place of each error."""
    errors = (f for f in report.findings if f.severity is Severity.ERROR)
    return {(f.kind, f.where) for f in errors}


def the(report: Report, kind: str) -> str:
    """What the one finding of a kind says, hint included."""
    [one] = [f for f in report.findings if f.kind == kind]
    assert one.hint, one
    return f"{one.what} -- {one.hint}"


# --- well -----------------------------------------------------------------------------


def test_a_healthy_cluster(both):
    """Nothing is wrong; every fact is there, on a terminal's table and as JSON."""
    both.form()
    report = both.report()
    assert report.findings == ()
    assert report.healthy
    document = json.loads(json.dumps(report.to_json()))
    assert document["healthy"] is True
    assert document["problems"] == []
    assert {note["kind"] for note in document["notes"]} == {"etcd-release"}
    assert document["cluster_id"] == hex_id(both.lab.cluster_id)
    assert document["quorum"] == {"voters": 3, "answering": 3, "needed": 2, "serves": True}
    states = [entry.pop("state") for entry in document["members"]]
    assert sorted(states) == ["follower", "follower", "leader"]
    for entry, member in zip(document["members"], both.members, strict=True):
        assert entry["name"] == member.name
        assert entry["member_id"] == entry["recorded_id"] == hex_id(member.member_id)
        assert (entry["reachable"], entry["tls"], entry["serves_reads"]) == (True, "ok", True)
        assert entry["peer_answers"] is True
        assert entry["version"].startswith(both.etcd)
        assert entry["revision"] == 4
        assert entry["quota"] == 2 * 1024**3
        assert 0 < entry["db_size_in_use"] <= entry["db_size"]
        assert entry["server_certificate_days"] == entry["peer_certificate_days"] == 1094
    done = both.run()
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split("  ")[0].strip() == "member"
    assert [line.split()[0] for line in lines[1:4]] == [m.name for m in both.members]
    assert "healthy; cluster ID" in lines[4]
    assert {line.partition(": ")[0] for line in lines[5:]} == {"note", "hint"}


def test_looking_leaves_no_trace(both):
    """Neither in etcd's log of writes nor, as complaints, in its journal."""
    both.form()
    index = both.report().seen_now["raft_index"]
    said = {m.name: (m.folder / "log").stat().st_size for m in both.members}
    for _ in range(3):
        assert both.report().seen_now["raft_index"] == index
    for member in both.members:
        news = (member.folder / "log").read_text()[said[member.name] :]
        assert "reject" not in news
        assert "tls" not in news


def test_what_is_remembered(site):
    """Members and the highest numbers: appended once, raised in place, else left alone."""
    site.form()
    assert site.run().returncode == 0
    [first] = site.observed
    assert first["kind"] == "status"
    assert {(m["name"], int(m["member_id"], 16)) for m in first["members"]} == {
        (m.name, m.member_id) for m in site.members
    }
    record = site.root / "icc-etcd/cluster.json"
    before = record.read_bytes(), record.stat().st_mtime_ns
    assert site.run().returncode == 0
    assert (record.read_bytes(), record.stat().st_mtime_ns) == before
    assert site.members[0].put("more", "data")
    assert site.run().returncode == 0
    [second] = site.observed
    assert second["revision"] == first["revision"] + 1
    assert second["raft_index"] > first["raft_index"]


def test_a_store_that_takes_no_more_is_only_a_warning(site):
    """The cluster is what it is, whether or not it can be written down."""
    site.form()
    (site.root / "icc-etcd/.lock").unlink(missing_ok=True)
    (site.root / "icc-etcd/.lock").mkdir()
    done = site.run()
    assert done.returncode == 0
    assert "not kept for next time" in done.stderr


# --- members that are down ------------------------------------------------------------


def test_one_down_and_then_two(both):
    """With one down the others go on; with two down there is no quorum, and one is missing."""
    first, second, third = both.members
    running = both.form()
    both.lab.end(running[third.name])
    eventually(lambda: both.report().quorum.serves)  # it may have been the leader
    report = both.report()
    assert found(report) == {("unreachable", third.name)}
    assert "Connection refused" in the(report, "unreachable")
    assert report.quorum.serves
    both.lab.end(running[second.name])
    eventually(lambda: not both.caller.status(first.client_url).leader)
    report = both.report()
    assert found(report) == {
        ("unreachable", second.name),
        ("unreachable", third.name),
        ("no-quorum", "icc-etcd"),
    }
    assert "1 of 3 voting members answer, 2 are needed, 1 must come back" in the(
        report, "no-quorum"
    )
    assert report.state_of(report.looks[0]) == "no quorum"
    # It still knows the others, so nothing is said against the spec.
    assert {entry.name for entry in report.listing} == {m.name for m in both.members}
    assert report.observation() is None
    done = both.run("--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["quorum"]["answering"] == 1


def test_one_is_back_of_three(both):
    """Until a second comes it serves no client; its peer port shows that it runs."""
    running = both.form()
    both.lab.end(*running.values())
    first = both.members[0]
    both.start(first)
    eventually(lambda: both.report(timeout=1).looks[0].listed)
    report = both.report(timeout=6)
    # However long that took, the clocks agree.
    assert "clock-skew" not in {f.kind for f in report.findings}
    assert report.state_of(report.looks[0]) == "not serving"
    assert "0 of 3 voting members answer, 1 more runs without serving us, 2 are needed, 1 must" in (
        the(report, "no-quorum")
    )
    # And tells whom it knows.
    assert {entry.name for entry in report.listing} == {m.name for m in both.members}
    assert "not-listed" not in {kind for kind, _ in found(report)}


def test_nobody_is_there(site):
    report = site.report()
    assert [kind for kind, _ in sorted(found(report))] == ["no-quorum", *["unreachable"] * 3]
    assert "0 of 3 voting members answer" in the(report, "no-quorum")


def test_a_silent_port_does_not_hold_up_the_rest(site):
    """It is given up after its time-out, and named."""
    first, second, third = site.members
    site.form(first, second)
    with socket.create_server((third.address, 2379)), socket.create_server((third.address, 2380)):
        report = site.report(timeout=1)
    assert found(report) == {("unreachable", third.name), ("not-started", third.name)}
    assert "no answer within 1 s" in the(report, "unreachable")


def test_something_else_at_the_port(site):
    """What does not speak TLS is named as such."""
    site.form(*site.members[:2])
    third = site.members[2]
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", "2379", "--bind", third.address],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        eventually(lambda: _listens(third.address))
        report = site.report()
    finally:
        server.kill()
        server.wait()
    assert ("no-tls", third.name) in found(report)


def _listens(address: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, 2379)) == 0


def test_a_member_waits_at_its_first_boot(site):
    """The first-boot program answers at the peer port before etcd does."""
    first = site.members[0]
    check = first.wait_at_start_check()
    report = site.report()
    assert ("first-boot", first.name) in found(report)
    assert report.state_of(report.looks[0]) == "first boot"
    assert ("unreachable", first.name) not in found(report)
    site.lab.end(check)


# --- other clusters -------------------------------------------------------------------


def test_another_token(both):
    """A member that was started with one never joins, and its peer port tells."""
    first, second, third = both.members
    both.form(first, second)
    both.start(third, "--initial-cluster-token=etcd-cluster")
    eventually(lambda: both.report(timeout=1).looks[2].cluster_id)
    report = both.report()
    ids = [member_id([m.peer_url], "etcd-cluster") for m in both.members]
    assert report.looks[2].cluster_id == cluster_id(ids)
    assert ("wrong-token", third.name) in found(report)
    said = the(report, "wrong-token")
    assert hex_id(report.looks[2].cluster_id) in said
    assert "here etcd-cluster, which is etcd's default" in said
    assert report.quorum.serves


def test_a_stale_data_directory(both):
    """All disks are of an earlier bootstrap: another token, the same addresses."""
    both.form(flags=("--initial-cluster-token=earlier",))
    report = both.report()
    assert found(report) >= {("wrong-token", member.name) for member in both.members}
    assert "earlier bootstrap" in report.findings[0].what
    assert report.observation() is None


def test_the_packages_accidental_cluster(both):
    """One member, the default token, http://localhost:2380: the ID that all of these have."""
    first, second, third = both.members
    both.form(first, second)
    both.start(
        third,
        f"--listen-peer-urls=http://{third.address}:2380",
        "--initial-advertise-peer-urls=http://localhost:2380",
        f"--initial-cluster={third.name}=http://localhost:2380",
        "--initial-cluster-token=etcd-cluster",
    )
    eventually(lambda: third.put("a", "1"))
    report = both.report()
    assert report.looks[2].cluster_id == ACCIDENTAL
    assert ("accidental-cluster", third.name) in found(report)
    assert "cdf818194e3a8c32" in the(report, "accidental-cluster")
    assert report.state_of(report.looks[2]) == "other cluster"


def test_a_foreign_cluster(both):
    """At a member's address a cluster answers that none of ours is in."""
    first, second, third = both.members
    both.form(first, second)
    stranger = f"https://{third.address}:12380"
    both.start(
        third,
        f"--listen-peer-urls={stranger}",
        f"--initial-advertise-peer-urls={stranger}",
        f"--initial-cluster={third.name}={stranger}",
    )
    eventually(lambda: third.put("a", "1"))
    report = both.report()
    assert ("foreign-cluster", third.name) in found(report)
    assert stranger in the(report, "foreign-cluster")


def test_all_disks_are_new(both):
    """The cluster has its old ID, and less data than it had acknowledged."""
    running = both.form()
    for number in range(20):
        assert both.members[0].put("key", str(number))
    before = both.report()
    remember(before.subject, before, both.root)
    assert both.report().healthy
    both.lab.end(*running.values())
    for member in both.members:
        member.wipe()
    both.form()
    report = both.report()
    assert found(report) == {("data-lost", "icc-etcd")}
    assert {one.cluster_id for one in report.looks} == {both.lab.cluster_id}
    said = the(report, "data-lost")
    assert f"where {before.seen_now['revision']} and" in said
    # What is gone is not forgotten.
    remember(report.subject, report, both.root)
    assert both.observed[-1]["revision"] == before.seen_now["revision"]


def test_addresses_that_were_mixed_up(site):
    """A member answers where another one should."""
    site.form()
    _, second, third = site.members
    swapped = site.text.replace(second.address, "OTHER").replace(third.address, second.address)
    report = site.report(swapped.replace("OTHER", third.address))
    said = [f.what for f in report.findings if f.kind == "member-id"]
    assert any(f"which is {third.name}, not as" in what for what in said)
    assert {where for kind, where in found(report) if kind == "server-certificate"} == {
        second.name + ": server certificate",
        third.name + ": server certificate",
    }


# --- certificates ---------------------------------------------------------------------


def test_server_certificates_that_will_not_do(both):
    """Expired, not yet valid, for another address, by another CA, another's: each by its name.

    etcd reads them at each handshake, so one cluster shows them all.
    """
    both.form()
    third = both.members[2]
    stranger = issue_pki(both.cluster, stored=None, now=NOW).pki
    short = both.text + "pki: {leaf_days: 30}\n"
    there = both.spec_with(address="127.0.0.99")
    cases = {
        "expired on": both.issue(short, now=NOW - timedelta(days=900)),
        "not valid before": both.issue(now=NOW + timedelta(days=10)),
        "was signed by another CA": stranger,
        f"lacks {third.address} in its subject alternative names": replace(
            both.pki, members={third.name: both.issue(there).members["icc-etcd-1"]}
        ),
    }
    for words, pki in cases.items():
        both.hand_out(third, replace(pki, members={third.name: pki.members[third.name]}))
        report = both.report()
        errors = [f for f in report.findings if f.severity is Severity.ERROR]
        assert {f.where for f in errors} == {
            f"{third.name}: server certificate",
            f"{third.name}: peer certificate",
        }, words
        assert all(words in f.what for f in errors), [f.what for f in errors]
        assert report.tls_of(report.looks[2]) == "server's fails"
        assert report.looks[2].shown
        assert report.quorum.serves
    both.hand_out(third, both.pki)
    assert both.report().healthy
    both.hand_out(third, both.pki, "icc-etcd-1")
    report = both.report()
    assert "is for the key of icc-etcd-1" in {f.what for f in report.findings}


def test_in_tls_1_2_certificates_are_read_too(site):
    """There the server's refusal ends the handshake before OpenSSL gives anything away."""
    site.form(flags=("--tls-max-version=TLS1.2",))
    third = site.members[2]
    stranger = issue_pki(site.cluster, stored=None, now=NOW).pki
    site.hand_out(third, stranger)
    wanted = stranger.members[third.name].server.certificate_pem
    assert shown_certificates(third.client_url, timeout=5) == certificates_in(wanted)
    report = site.report()
    assert ("server-certificate", f"{third.name}: server certificate") in found(report)


def test_looking_at_what_cannot_be_trusted_sends_nothing(site):
    """Not even the end of the handshake: the server is left without one."""
    pair = site.members[0].folder / "pki/server.pem", site.members[0].folder / "pki/server-key.pem"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    ended: list[Exception] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            try:
                context.wrap_socket(connection, server_side=True)
            except OSError as error:
                ended.append(error)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Thread(target=serve)
        server.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        shown = shown_certificates(url, timeout=5)
        server.join(15)
    assert shown == certificates_in(pair[0].read_text())
    # Which of the two depends on the Python that listens.
    assert len(ended) == 1
    assert isinstance(ended[0], ssl.SSLEOFError | ssl.SSLZeroReturnError)


def test_certificates_that_end_soon_or_are_older_than_the_store_s(site):
    """Thirty days before their end there is a warning, and it is no error yet."""
    site.form()
    third = site.members[2]
    short = site.issue(site.text + "pki: {leaf_days: 20}\n")
    # The same key, as a renewal leaves it.
    site.save(site.cluster, short)
    site.hand_out(third, short)
    site.hand_out(site.members[0], short)
    site.hand_out(site.members[1], short)
    report = site.report()
    assert report.healthy
    assert {f.where for f in report.findings if f.kind == "certificate-expiry"} == {
        *(f"{m.name}: {port} certificate" for m in site.members for port in ("server", "peer")),
        str(site.root / "icc-etcd/clients/client.pem"),
    }
    assert report.to_json()["members"][2]["server_certificate_days"] == 19
    renewed = issue_pki(site.cluster, stored=short, now=NOW, reissue=True).pki
    site.save(site.cluster, renewed)
    report = site.report()
    assert report.healthy
    older = [f for f in report.findings if "is not the one in the store" in f.what]
    assert len(older) == 6
    assert all(f.hint.startswith(f"put {site.root}/icc-etcd/members/") for f in older)


def replace_client(site: Site, pki: Pki) -> None:
    site.save(site.cluster, replace(site.pki, client=pki.client))


def test_a_client_certificate_that_is_refused(both):
    """Ours is looked at first: expired, or of another CA; only then the member is suspected."""
    both.form()
    where = str(both.root / "icc-etcd/clients/client.pem")
    short = both.text + "pki: {leaf_days: 30}\n"
    cases = {
        "expired on": both.issue(short, now=NOW - timedelta(days=900)),
        "was signed by another CA": issue_pki(both.cluster, stored=None, now=NOW).pki,
    }
    for words, pki in cases.items():
        replace_client(both, pki)
        report = both.report()
        assert found(report) == {
            ("client-certificate", where),
            *(("refused", member.name) for member in both.members),
            ("no-quorum", "icc-etcd"),
        }
        assert "3 more run without serving us" in the(report, "no-quorum")
        assert words in the(report, "client-certificate")
        assert all("it is right to" in f.hint for f in report.findings if f.kind == "refused")
        # The peer side tells who they are all the same.
        assert {one.cluster_id for one in report.looks} == {both.lab.cluster_id}


def test_a_client_certificate_that_only_the_member_minds(both):
    """Its CA file is another one: ours is good, and that is what is said."""
    first, second, third = both.members
    both.form(first, second)
    other = third.folder / "other-ca.pem"
    other.write_text(issue_pki(both.cluster, stored=None, now=NOW).pki.ca.certificate_pem)
    both.start(third, f"--trusted-ca-file={other}", "--enable-grpc-gateway=false")
    eventually(lambda: "refused" in {kind for kind, _ in found(both.report())})
    report = both.report()
    assert found(report) == {("refused", third.name)}
    assert "ETCD_TRUSTED_CA_FILE" in the(report, "refused")


# --- clocks, data, versions -----------------------------------------------------------


def test_clocks_that_differ(site):
    """A little is a warning; an hour, by which certificates are backdated, an error."""
    site.form()
    for ahead, healthy in ((timedelta(seconds=30), True), (timedelta(hours=2), False)):
        report = site.report(clock=lambda ahead=ahead: real_clock() + ahead)
        skews = [f for f in report.findings if f.kind == "clock-skew"]
        assert {f.where for f in skews} == {m.name for m in site.members}
        assert all(re.search(r"clock is \d:\d\d:\d\d behind ours", f.what) for f in skews)
        assert report.healthy is healthy


def test_a_certificate_that_only_the_members_clock_minds(site):
    """It begins later than the member's clock says, which its peer port still tells."""
    first, second, third = site.members
    site.form(first, second, third)
    early = site.issue(now=NOW + timedelta(hours=3)).members[third.name]
    both = replace(site.pki.members[third.name], server=early.server)
    site.hand_out(third, replace(site.pki, members={third.name: both}))
    report = site.report(clock=lambda: real_clock() + timedelta(hours=4))
    said = {f.what for f in report.findings if f.kind == "server-certificate"}
    assert any(re.search("^is not valid before .*, by the member's own clock", w) for w in said)
    assert ("clock-skew", third.name) in found(report)


def test_a_full_database(both):
    """NOSPACE is named with its member, and before it comes to that the size is."""
    both.form(flags=("--quota-backend-bytes=1048576",))
    value = "x" * 100_000
    eventually(lambda: not all(m.put("big", value) for m in both.members[:1]), seconds=60)
    eventually(lambda: "alarm-nospace" in {kind for kind, _ in found(both.report())})
    small = both.spec_with("etcd: {quota: 1MiB}")

    def kinds() -> list[str]:
        return [finding.kind for finding in both.report(small).findings]

    # etcd counts what it has not yet written out, and reports what it has; a member that
    # wrote much at a time needs fewer pages for the same.
    eventually(lambda: "database" in kinds())
    report = both.report(small)
    alarms = [f for f in report.findings if f.kind == "alarm-nospace"]
    assert {f.where for f in alarms} <= {m.name for m in both.members}
    assert "takes no more writes" in alarms[0].what
    assert "alarm disarm" in alarms[0].hint
    assert report.quorum.serves


def test_a_learner_and_members_that_only_one_side_knows(both):
    """Listed and not in the spec, in the spec and not listed, listed and never started."""
    both.form()
    url = "https://127.0.0.1:23999"

    def added() -> bool:
        try:
            both.caller.add_learner(both.members[0].client_url, (url,))
        except RefusedError as error:  # a young cluster does not change
            return "unhealthy" not in error.message
        return True

    eventually(added)
    report = both.report()
    assert found(report) == {("learner", "icc-etcd"), ("not-in-spec", "icc-etcd")}
    assert url in the(report, "not-in-spec")
    assert report.quorum.voters == 3
    fourth = "  - {name: icc-etcd-4, address: 127.0.0.1}\n"
    report = both.report(both.spec_with("etcd: {}", members=fourth))
    assert ("not-listed", "icc-etcd-4") in found(report)


def test_members_of_different_minors(tmp_path):
    """Allowed for as long as an upgrade takes, so it is said and is no error."""
    site = Site(tmp_path)
    try:
        first, *others = site.members
        site.start(first, etcd="3.5")
        for member in others:
            site.start(member, etcd="3.4")
        for member in site.members:
            eventually(lambda member=member: member.put("formed", "yes"))
        report = site.report()
        assert report.healthy
        assert re.search(r"icc-etcd-1 3\.5\.\d+, icc-etcd-2 3\.4\.\d+", the(report, "versions"))
    finally:
        site.lab.close()


def test_what_upstream_has_fixed_since(both):
    """Of a release it is a warning, of a package a note, and a healthy cluster stays healthy."""
    both.form()
    [note, *_] = both.report().notes
    [version] = {entry["version"] for entry in both.report().to_json()["members"]}
    assert f"a distribution's {version} may have them" in note.what
    both.path.write_text(both.spec_with(install_section(version)))
    report = both.report(both.path.read_text())
    assert report.healthy
    lacks = report.findings[0]
    assert (lacks.kind, lacks.severity) == ("etcd-release", Severity.WARNING)
    assert lacks.where == ", ".join(member.name for member in both.members)
    assert f"etcd {version} lacks fixes" in lacks.what
    assert ["no support" in f.what for f in report.findings[1:]] == [True] * (both.etcd == "3.4")
    done = both.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert "CVE-2026-73500" in done.stdout


# --- the command ----------------------------------------------------------------------


def test_waiting_until_healthy(site):
    """One line for each change, and success once all is well."""
    first, second, third = site.members
    site.form(first, second)
    waiting = subprocess.Popen(
        [sys.executable, "-m", "imagegen", "status", str(site.path), "--pki", str(site.root),
         "--wait", "2m", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert waiting.stderr
    assert f"{third.name} unreachable" in waiting.stderr.readline()
    site.start(third)
    out, err = waiting.communicate(timeout=120)
    assert waiting.returncode == 0, err
    assert json.loads(out)["healthy"] is True
    lines = err.splitlines()
    assert lines[-1].endswith("; healthy")
    assert len(set(lines)) == len(lines)


def test_waiting_has_an_end(site):
    done = site.run("--wait", "1s")
    assert done.returncode == 1
    assert "no-quorum" in done.stderr
    assert "has no quorum: 0 of 3" in done.stdout


@pytest.mark.parametrize("wrong", ["5", "5 m", "m", "1d", "-1s", ""])
def test_durations(wrong):
    assert [parse_duration(text) for text in ("90s", "5m", "1h")] == [90, 300, 3600]
    with pytest.raises(typer.BadParameter, match="is no duration such as 90s, 5m or 1h"):
        parse_duration(wrong)


def test_a_wrong_duration_is_a_usage_error(site):
    done = site.run("--wait", "")
    assert done.returncode == 2
    assert "is no duration such as 90s, 5m or 1h" in done.stderr


def test_without_a_store_there_is_nothing_to_ask_with(tmp_path):
    """No cluster was ever built of it: that is said, and no directory is made."""
    spec = tmp_path / "c.yaml"
    spec.write_text("cluster: c\nmembers: [{name: a, address: 192.0.2.1}]\n")
    done = subprocess.run(
        [sys.executable, "-m", "imagegen", "status", str(spec), "--pki", str(tmp_path / "pki")],
        capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 1
    assert "nothing was ever saved here" in done.stderr
    assert "hint: imagegen build" in done.stderr
    assert not (tmp_path / "pki").exists()


def test_no_key_is_shown(site):
    """In no state, by no way of saying it."""
    site.form(*site.members[:2])
    secrets = [path.read_text().split()[4] for path in (site.root / "icc-etcd").rglob("*-key.pem")]
    done = site.run()
    assert not any(secret in done.stdout + done.stderr for secret in secrets)
    assert "PRIVATE" not in json.dumps(site.report().to_json())
    assert "PRIVATE" not in repr(site.report())


def test_peers_are_asked_only_with_a_key_of_the_store(site):
    """A member of the spec that was never built has none; its client port is asked all the same."""
    site.form()
    text = site.spec_with(members="  - {name: icc-etcd-4, address: 127.0.0.4}\n")
    subject = Subject.of(site.cluster_of(text).spec, site.root)
    fourth = subject.cluster.members[3]
    # From here every stored certificate fits, and any of them may ask.
    assert subject.peer_caller(fourth, 1)
    stored = replace(subject.stored, pki=replace(subject.stored.pki, members={}))
    assert replace(subject, stored=stored).peer_caller(fourth, 1) is None
