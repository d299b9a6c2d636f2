"""Certificates of running etcd: renewed, revoked, and replaced down to the CA."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagegen.pki.pem import certificates_in
from tests.conftest import EXAMPLES, ROOT

from .lab import PATH, Lab, Member, formed, lab_of

pytestmark = pytest.mark.etcd

CLIENTS = "\nclients: [{name: backup}, {name: reader}]\n"
LAYOUTS = {"separate": "", "lab": "\npki: {layout: lab}\n"}


class Cluster:
    """A running cluster, and the operator's directory it was built from."""

    def __init__(self, folder: Path, lab: Lab) -> None:
        self.folder, self.lab = folder, lab

    def imagegen(self, *arguments: str, status: int = 0) -> str:
        """What a command prints; it must end with this status."""
        done = subprocess.run(
            [sys.executable, "-m", "imagegen", *arguments],
            cwd=self.folder, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    def rotate(self, *options: str, status: int = 0) -> str:
        """`imagegen certs rotate-ca`, asked where our network is that of the members."""
        command = [sys.executable, "-m", "imagegen", "certs", "rotate-ca", "cluster.yaml", *options]
        there = ("sh", "-c", 'cd "$0" && exec "$@"', str(self.folder))
        done = subprocess.run(
            self.lab.operator.inside(*there, *command),
            env={"PYTHONPATH": str(ROOT), "PATH": PATH},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def apply(
        self,
        member: Member,
        kind: str,
        *arguments: str,
        script_of: Member | None = None,
        host: str | None = None,
        path: str = PATH,
    ) -> subprocess.CompletedProcess[str]:
        """Run a member's script on it, as root; etcd is restarted by us where systemd would."""
        script = self.folder / "out/small" / kind / (script_of or member).name / "apply.sh"
        wish = member.folder / "restart"
        restart = f"touch {wish}; while [ -e {wish} ]; do sleep 0.1; done"
        run = 'hostname "$1"; shift; IMAGEGEN_RESTART=$1; shift; export IMAGEGEN_RESTART; sh "$@"'
        command = member.inside(
            *("unshare", "--uts", "sh", "-c", run, "sh"),
            *(host or member.name, restart, str(script), *arguments),
        )
        with subprocess.Popen(
            command, env={"PATH": path}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            end = time.monotonic() + 150
            # Here and in no thread: the kernel ends etcd with the thread that began it.
            while process.poll() is None:
                assert time.monotonic() < end, process.kill()
                if wish.exists():
                    member.stop()
                    member.__dict__.pop("settings", None)  # its file may have changed
                    member.start()
                    wish.unlink()
                time.sleep(0.05)
            assert process.stdout
            assert process.stderr
            said = process.stdout.read(), process.stderr.read()
        return subprocess.CompletedProcess(command, process.returncode, *said)

    def apply_all(self, kind: str, *arguments: str) -> list[str]:
        """Run every member's script, one after another; what they said."""
        said = []
        for member in self.lab.members:
            run = self.apply(member, kind, *arguments)
            assert run.returncode == 0, run.stdout + run.stderr
            assert run.stdout.endswith("done\n")
            said.append(run.stdout)
        return said

    def stored(self, path: str) -> int:
        """The serial of a certificate in the store."""
        text = (self.folder / "pki" / "small" / path).read_text()
        return certificates_in(text)[0].serial_number

    def served(self, member: Member, role: str) -> int:
        """The serial of the certificate a member shows at one of its ports."""
        url = member.peer_url if role == "peer" else member.client_url
        endpoint = url.removeprefix("https://")
        certificate, key = member.peer_credential
        command = f"openssl s_client -connect {endpoint} -cert {certificate} -key {key} </dev/null"
        shown = member.run("sh", "-c", f"{command} 2>/dev/null | openssl x509")
        return certificates_in(shown.stdout)[0].serial_number

    def try_as(self, name: str, *, ca: Path | None = None) -> bool:
        """Whether every member answers this client, with the credential it has in out/."""
        pair = {"CERT": f"{name}.pem", "KEY": f"{name}-key.pem"}
        if ca:
            pair["CACERT"] = str(ca)
        return all(
            self.lab.try_etcdctl(
                *("get", "x", "--command-timeout=3s"), ENDPOINTS=member.client_url, **pair
            ).returncode
            == 0
            for member in self.lab.members
        )


@contextmanager
def running(folder: Path, etcd: str, layout: str = "separate") -> Iterator[Cluster]:
    spec = (EXAMPLES / "smallest.yaml").read_text() + CLIENTS + LAYOUTS[layout]
    with formed(spec, etcd, folder) as lab:
        yield Cluster(folder, lab)


@contextmanager
def load(cluster: Cluster, *, ca: Path | None = None) -> Iterator[list[str]]:
    """Writes, each by a new connection, until the end; what failed twice in a row is listed."""
    failed: list[str] = []
    written = 0
    done = threading.Event()

    def write() -> None:
        nonlocal written
        number = 0
        while not done.is_set():
            number += 1
            command = ("put", f"load/{number}", "x", "--command-timeout=5s")
            for attempt in range(2):
                said = cluster.lab.try_etcdctl(*command, **({"CACERT": str(ca)} if ca else {}))
                if said.returncode == 0:
                    written += 1
                    break
                if attempt:
                    failed.append(said.stderr)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield failed
    finally:
        done.set()
        thread.join()
    assert written > 5


ROLES = {"separate": ("server", "peer"), "lab": ("member",)}


def serials(cluster: Cluster, layout: str, *, stored: bool) -> dict[tuple[str, str], int]:
    """Each member's serial at each port: as the store has it, or as it is served."""
    found = {}
    for member in cluster.lab.members:
        for role in ("server", "peer"):
            file = role if layout == "separate" else "member"
            path = f"members/{member.name}/{file}.pem"
            found[member.name, role] = (
                cluster.stored(path) if stored else cluster.served(member, role)
            )
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_renewal_is_served_without_a_restart_and_without_a_lost_request(etcd, layout, tmp_path):
    """All leaves under load; scripts refuse the wrong machine, and a second run does nothing."""
    with running(tmp_path, etcd, layout) as cluster:
        before = serials(cluster, layout, stored=False)
        processes = [member._etcd.pid for member in cluster.lab.members]
        with load(cluster) as failed:
            cluster.imagegen("certs", "renew", "cluster.yaml")
            first, second, *_ = cluster.lab.members
            for host, why in ((None, "called small-1"), (second.name, "ETCD_NAME")):
                wrong = cluster.apply(first, "renew", script_of=second, host=host)
                assert wrong.returncode == 1
                assert why in wrong.stderr
            cluster.apply_all("renew")
        assert failed == []
        after = serials(cluster, layout, stored=False)
        assert after == serials(cluster, layout, stored=True)
        assert not set(before.values()) & set(after.values())
        assert [member._etcd.pid for member in cluster.lab.members] == processes
        assert all(member.running for member in cluster.lab.members)
        for said in cluster.apply_all("renew"):
            assert "replaced" not in said
            assert said.count("already in place") == len(ROLES[layout])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_new_keys_come_with_their_certificates(etcd, layout, tmp_path):
    """Each member has its new pair, in files as before, and a switch cut off anywhere is mended."""
    with running(tmp_path, etcd, layout) as cluster:
        old = serials(cluster, layout, stored=False)
        with load(cluster) as failed:
            cluster.imagegen("certs", "renew", "cluster.yaml", "--new-keys")
            first, *others = cluster.lab.members
            cut_off_everywhere(cluster, first)
            for member in others:
                run = cluster.apply(member, "renew")
                assert run.returncode == 0, run.stdout + run.stderr
        assert failed == []
        new = serials(cluster, layout, stored=False)
        assert new == serials(cluster, layout, stored=True)
        assert not set(old.values()) & set(new.values())
        for member in cluster.lab.members:
            folder = member.folder / "etc/etcd"
            assert sorted(path.name for path in folder.iterdir()) == FILES[layout]
            for path in folder.iterdir():
                assert not path.is_symlink()
                mode = 0o600 if path.name.endswith("-key.pem") else 0o644
                assert path.stat().st_mode & 0o777 == mode
                assert ("PRIVATE KEY" in path.read_text()) == path.name.endswith("-key.pem")
        # Without the keys beside it, it still sees that all is in place.
        for key in (cluster.folder / "out/small/renew").glob("*/*-key.pem"):
            key.unlink()
        for said in cluster.apply_all("renew"):
            assert "replaced" not in said
            assert "restarting" not in said


FILES = {
    "separate": [
        "ca.pem", "peer-ca.pem", "peer-key.pem", "peer.pem", "server-key.pem", "server.pem",
    ],
    "lab": ["ca.pem", "kubernetes-key.pem", "kubernetes.pem"],
}  # fmt: skip


def cut_off_everywhere(cluster: Cluster, member: Member) -> None:
    """Kill the script before each of its renames in turn; what is there is a pair every time."""
    certificate, key = member.peer_credential
    cut = 0
    while True:
        cut += 1
        folder = member.folder / "bin"
        folder.mkdir(exist_ok=True)  # first on the script's PATH
        (folder / "left").write_text(str(cut))
        (folder / "mv").write_text(
            f"""#!/bin/sh
left=$(($(cat {folder}/left) - 1)); echo $left >{folder}/left
[ $left -gt 0 ] || kill -9 $PPID
exec /bin/mv "$@"
"""
        )
        (folder / "mv").chmod(0o755)
        run = cluster.apply(member, "renew", path=f"{folder}:{PATH}")
        match = (
            f'[ "$(openssl x509 -in {certificate} -noout -pubkey)" = '
            f'"$(openssl pkey -in {key} -pubout)" ]'
        )
        assert member.run("sh", "-c", match).returncode == 0, f"cut {cut}"
        if run.returncode == 0:
            break
        assert run.returncode == 137, run.stderr
    assert cut > 3


def test_a_revoked_client_is_refused_and_nobody_else(etcd, tmp_path):
    """The first list needs a restart, the next only a file; a new certificate is let in."""
    with running(tmp_path, etcd) as cluster:
        members = cluster.lab.members
        assert cluster.try_as("backup")
        cluster.imagegen("certs", "renew", "cluster.yaml", "--client", "backup")
        cluster.imagegen("certs", "revoke", "cluster.yaml", "--client", "backup")
        cluster.apply_all("revoke")
        # The one in out/ is older than the one in the store: it is revoked too.
        assert not cluster.try_as("backup")
        assert cluster.try_as("client")
        assert cluster.try_as("reader")
        processes = [member._etcd.pid for member in members]
        older = cluster.folder / "out/small/older"
        (cluster.folder / "out/small/revoke").rename(older)
        cluster.imagegen("certs", "revoke", "cluster.yaml", "--client", "reader")
        for said in cluster.apply_all("revoke"):
            assert "restarting" not in said
        assert [member._etcd.pid for member in members] == processes
        assert not cluster.try_as("reader")
        assert not cluster.try_as("backup")
        assert cluster.try_as("client")
        stale = cluster.apply(members[0], "older")
        assert stale.returncode == 1
        assert "newer than what this script brings" in stale.stderr
        assert not cluster.try_as("reader")
        cluster.imagegen("build", "cluster.yaml", "--force")
        assert cluster.try_as("backup")
        assert cluster.try_as("reader")
        run = cluster.apply(members[0], "revoke", "restart")
        assert "restarting" in run.stdout
        assert run.returncode == 0, run.stderr


def test_a_new_machine_gets_the_list_with_its_seed(etcd, tmp_path):
    """A cluster built after a revocation refuses the client from its first start."""
    with running(tmp_path, etcd) as cluster:
        revoked = tmp_path / "revoked"
        (tmp_path / "out/small/client").rename(revoked)
        cluster.imagegen("certs", "revoke", "cluster.yaml", "--client", "backup")
    cluster.imagegen("build", "cluster.yaml", "--force")
    with lab_of(tmp_path / "out/small", etcd, tmp_path / "again") as cluster.lab:
        assert cluster.try_as("backup")
        assert not cluster.try_as(str(revoked / "backup"))
        assert cluster.try_as(str(revoked / "reader"))


def issuers(cluster: Cluster, role: str) -> set[str]:
    """Who has signed what the members serve at a port."""
    found = set()
    for member in cluster.lab.members:
        url = member.peer_url if role == "peer" else member.client_url
        certificate, key = member.peer_credential
        shown = member.run(
            "sh",
            "-c",
            f"openssl s_client -connect {url[8:]} -cert {certificate} -key {key} </dev/null "
            "2>/dev/null | openssl x509",
        )
        found.add(certificates_in(shown.stdout)[0].issuer.rfc4514_string())
    return found


@pytest.mark.parametrize(
    ("layout", "ca"), [("separate", "client"), ("separate", "peer"), ("lab", "")]
)
def test_a_ca_is_replaced_while_everybody_goes_on(etcd, layout, ca, tmp_path):
    """No step is left before all members show it; the old CA's clients go on until the last."""
    with running(tmp_path, etcd, layout) as cluster:
        members = cluster.lab.members
        role = "peer" if ca == "peer" else "server"
        old = issuers(cluster, role)
        files = cluster.folder / "pki/small"
        name = f"{ca}-ca.pem" if ca else "ca.pem"
        clients = ca != "peer"
        last = by_the_roll(cluster, cluster.rotate(*([f"--{ca}"] if ca else [])))
        trusted = tmp_path / "both.pem"
        trusted.write_bytes((files / name).read_bytes())
        assert len(certificates_in(trusted.read_text())) == 2
        both = trusted if clients else None
        with load(cluster, ca=both) as failed:
            for step in (1, 2):
                assert f"-> step {step} of 3" in cluster.rotate()
                said = cluster.rotate("--next", status=1)
                assert {m.name for m in members if m.name in said} == {m.name for m in members}
                for member in last:
                    run = cluster.apply(member, "rotate-ca")
                    assert run.returncode == 0, run.stdout + run.stderr
                    assert ("restarting" in run.stdout) == (step != 2)
                    if member is not last[-1]:
                        said = cluster.rotate("--next", status=1)
                        assert last[-1].name in said
                        assert member.name not in said
                # Its certificate is the old CA's as long as out/ is not built again.
                assert cluster.try_as("backup", ca=both)
                assert (issuers(cluster, role) == old) == (step == 1)
                assert f"-> step {step + 1} of 3" in cluster.rotate("--next")
        assert failed == []
        assert not old & issuers(cluster, role)
        assert "still trusts the old CA" in cluster.rotate("--next", status=1)
        for member in last:
            run = cluster.apply(member, "rotate-ca")
            assert "restarting" in run.stdout, run.stderr
        assert "is over" in cluster.rotate("--next")
        assert cluster.try_as("backup", ca=both) != clients
        assert len(certificates_in((files / name).read_text())) == 1
        assert not (files / "rotation-ca-key.pem").exists()
        cluster.imagegen("build", "cluster.yaml", "--force")
        assert cluster.try_as("backup")
        again = cluster.rotate("--next", status=1)
        assert "no rotation is under way" in again


def by_the_roll(cluster: Cluster, said: str) -> list[Member]:
    """The members in the order that the command has printed, who leads last."""
    order = re.findall(r"rotate-ca/(small-\d)/apply.sh", said)
    [status] = json.loads(
        cluster.lab.etcdctl(
            *("endpoint", "status", "-w", "json"), ENDPOINTS=cluster.lab.members[0].client_url
        )
    )
    known = {member.name: member for member in cluster.lab.members}
    assert known[order[-1]].member_id == status["Status"]["leader"]
    assert sorted(order) == sorted(known)
    return [known[name] for name in order]
