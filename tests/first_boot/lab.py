"""A small etcd cluster on loopback addresses, for the tests of the first-boot program.

Everything that answers over TLS is real: certificates, etcd, and the program
itself. Only the programs that would change this machine (apt-get, systemctl)
are stand-ins, small scripts on a PATH of their own.
"""

from __future__ import annotations

import base64
import ipaddress
import itertools
import json
import os
import pwd
import secrets
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.conftest import require_program

FIRSTBOOT = Path(__file__).parents[2] / "cloud_init_templates" / "firstboot.py"
PYTHON = os.environ.get("IMAGEGEN_GUEST_PYTHON", sys.executable)

# Every member of every lab has an address of its own in 127.0.0.0/8, so the
# standard ports are always free and tests may run side by side.
_net = itertools.count(secrets.randbelow(150) * 256)


def etcd_program() -> str:
    """The etcd to test with."""
    return require_program("etcd-3.4")


def eventually(holds: Callable[[], Any], *, seconds: float = 120) -> Any:
    """Poll until ``holds()`` is true, and return what it said."""
    deadline = time.monotonic() + seconds
    while not (said := holds()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
    return said


class Authority:
    """A certificate authority that signs for one test."""

    def __init__(self, folder: Path, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self.name, self.key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{name}-ca.pem"
        self.path.write_bytes(_pem(builder.sign(self.key, hashes.SHA256())))

    def issue(self, base: Path, *addresses: str) -> tuple[Path, Path]:
        """Write ``base.pem`` and ``base-key.pem``, good for dialling and for answering."""
        key = ec.generate_private_key(ec.SECP256R1())
        sans = [x509.IPAddress(ipaddress.ip_address(a)) for a in ("127.0.0.1", *addresses)]
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = (
            self._builder(x509.Name([]), key.public_key())
            .add_extension(x509.SubjectAlternativeName(sans), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        )
        base.parent.mkdir(parents=True, exist_ok=True)
        cert_path, key_path = Path(f"{base}.pem"), Path(f"{base}-key.pem")
        cert_path.write_bytes(_pem(builder.sign(self.key, hashes.SHA256())))
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return cert_path, key_path

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
        )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def id_of(*parts: bytes) -> int:
    """How etcd makes member and cluster IDs: the first eight bytes of a SHA-1."""
    return int.from_bytes(sha1(b"".join(parts), usedforsecurity=False).digest()[:8], "big")


@dataclass(kw_only=True)
class Member:
    """One member: its address, its credentials, its disk, and what runs on it."""

    lab: Lab
    name: str
    address: str
    folder: Path
    member_id: int
    others: list[Member] = field(default_factory=list)

    @property
    def peer_url(self) -> str:
        return f"https://{self.address}:2380"

    @property
    def client_url(self) -> str:
        return f"https://{self.address}:2379"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def root(self) -> Path:
        """Where the program finds the machine's own files, but not etcd's."""
        return self.folder / "root"

    @property
    def config_path(self) -> Path:
        return self.folder / "member.json"

    @property
    def result(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / "state/result.json").read_text())
        except FileNotFoundError:
            found = {}
        return found

    @property
    def state(self) -> str | None:
        return self.result.get("state")

    @property
    def gate(self) -> Path:
        return self.folder / "state/etcd-may-start"

    @property
    def finished(self) -> Path:
        return self.folder / "state/finished-i-1"

    @property
    def console(self) -> str:
        return (self.folder / "console").read_text()

    def configure(self, **changes: Any) -> None:
        """Write member.json, with some of its settings changed."""
        pki = self.folder / "pki"
        config: dict[str, Any] = {
            "cluster": "icc-etcd",
            "cluster_id": f"{self.lab.cluster_id:x}",
            "member": self.name,
            "member_id": f"{self.member_id:x}",
            "instance_id": "i-1",
            "addresses": [self.address],
            "client_url": self.client_url,
            "peer_url": self.peer_url,
            "peer_listen": [self.address, 2380],
            "initial_cluster_state": "new",
            "others": [
                {"name": o.name, "member_id": f"{o.member_id:x}", "peer_url": o.peer_url}
                for o in self.others
            ],
            "data_dir": str(self.data),
            "wal_dir": None,
            "tls": {
                "peer_cert": str(pki / "peer.pem"),
                "peer_key": str(pki / "peer-key.pem"),
                "peer_ca": str(self.lab.peer_ca.path),
                "client_cert": str(pki / "server.pem"),
                "client_key": str(pki / "server-key.pem"),
                "client_ca": str(self.lab.client_ca.path),
            },
            "keys": {"secrets": "embed", "disk": None, "unit": "imagegen-keys.path"},
            "owned": [
                {"path": str(pki / "peer-key.pem"), "mode": "0400"},
                {"path": str(pki / "server-key.pem"), "mode": "0400"},
            ],
            "owner": _me(),
            "install": {"mode": "preinstalled", "packages": [], "minimum_version": "3.4.0"},
            "not_before": "2020-01-01T00:00:00Z",
            "bootstrap_until": None,
            "snapshot": None,
            "data_disk": None,
            "address_timeout": 1,
            "clock_timeout": 1,
            "state_dir": str(self.folder / "state"),
            "gate": str(self.gate),
            "finished": str(self.finished),
            "console": str(self.folder / "console"),
            "service": "etcd.service",
            "after_boot": "keep",
            "root": str(self.root),
        }
        self.config_path.write_text(json.dumps({**config, **changes}))

    def stand_in(self, program: str, script: str) -> None:
        """Put a small script in the place of a program; its calls are kept."""
        path = self.folder / "bin" / program
        path.write_text(f'#!/bin/sh\necho "{program} $*" >>{self.folder}/calls\n{script}\n')
        path.chmod(0o755)

    def bring(self, program: str, path: str | None = None) -> None:
        """Make a real program available to the first-boot program, which finds no others."""
        (self.folder / "bin" / program).symlink_to(path or require_program(program))

    @property
    def calls(self) -> list[str]:
        """What the stand-ins were called with."""
        calls = self.folder / "calls"
        return calls.read_text().splitlines() if calls.exists() else []

    def unit(self, **changes: str) -> None:
        """What systemd says of etcd.service."""
        properties = {
            "LoadState": "loaded",
            "ActiveState": "inactive",
            "UnitFileState": "enabled",
            "FragmentPath": "/lib/systemd/system/etcd.service",
            "NeedDaemonReload": "no",
            "Result": "success",
            "ExecMainStatus": "0",
        }
        lines = [f"{key}={value}" for key, value in {**properties, **changes}.items()]
        (self.folder / "unit").write_text("\n".join(lines) + "\n")

    def run(self) -> subprocess.Popen[bytes]:
        """Run the whole first boot, with stand-ins for what would change this machine."""
        return self.lab.spawn(self.firstboot("run"), self, PATH=str(self.folder / "bin"))

    def firstboot(self, command: str) -> list[str]:
        """The command line of one of the program's subcommands."""
        return [PYTHON, str(FIRSTBOOT), command, "--config", str(self.config_path)]

    def start_check(self, *, seconds: float = 30) -> int:
        """Run the start check until it ends, and return its exit status."""
        return self.lab.spawn(self.firstboot("start-check"), self).wait(seconds)

    def wait_at_start_check(self) -> subprocess.Popen[bytes]:
        """Begin the start check and return once it answers other members."""
        check = self.lab.spawn(self.firstboot("start-check"), self)
        eventually(lambda: self.result.get("step") == "start-check")
        return check

    def start_etcd(self) -> subprocess.Popen[bytes]:
        """Start etcd with nothing in front of it."""
        return self.lab.spawn(self.etcd_command(), self)

    def boot(self) -> subprocess.Popen[bytes]:
        """What etcd.service does: the start check, then etcd."""
        return self.lab.spawn(["sh", "-c", self.boot_script], self)

    @property
    def boot_script(self) -> str:
        check, etcd = shlex.join(self.firstboot("start-check")), shlex.join(self.etcd_command())
        return f"{check} && exec {etcd}"

    def etcd_command(self) -> list[str]:
        pki, lab = self.folder / "pki", self.lab
        flags = {
            "name": self.name,
            "data-dir": self.data,
            "listen-peer-urls": self.peer_url,
            "initial-advertise-peer-urls": self.peer_url,
            "listen-client-urls": self.client_url,
            "advertise-client-urls": self.client_url,
            "initial-cluster": ",".join(f"{m.name}={m.peer_url}" for m in [self, *self.others]),
            "initial-cluster-token": lab.token,
            "peer-cert-file": pki / "peer.pem",
            "peer-key-file": pki / "peer-key.pem",
            "peer-trusted-ca-file": lab.peer_ca.path,
            "cert-file": pki / "server.pem",
            "key-file": pki / "server-key.pem",
            "trusted-ca-file": lab.client_ca.path,
        }
        switches = ["--client-cert-auth", "--peer-client-cert-auth", "--logger=zap"]
        return [etcd_program(), *(f"--{k}={v}" for k, v in flags.items()), *switches]

    def wipe(self) -> None:
        """The machine is made anew: data and state are gone, credentials come with the seed."""
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.rmtree(self.folder / "state", ignore_errors=True)

    def ask(self, url: str, body: bytes | None = None) -> tuple[Any, str]:
        """An answer of this member's etcd, with the cluster ID header; the client's view."""
        pki = self.folder / "pki"
        is_peer = ":2380" in url
        ca = self.lab.peer_ca if is_peer else self.lab.client_ca
        base = "peer" if is_peer else "server"
        return https(url, ca.path, (pki / f"{base}.pem", pki / f"{base}-key.pem"), body)

    def put(self, key: str, value: str) -> bool:
        """Whether a write was acknowledged."""
        body = json.dumps({"key": _b64(key), "value": _b64(value)}).encode()
        try:
            said, _ = self.ask(f"{self.client_url}/v3/kv/put", body)
        except OSError:
            return False
        return "header" in said

    def get(self, key: str) -> str | None:
        said, _ = self.ask(
            f"{self.client_url}/v3/kv/range", json.dumps({"key": _b64(key)}).encode()
        )
        found = said.get("kvs", [])
        return base64.b64decode(found[0]["value"]).decode() if found else None


class Lab:
    """Members that make one cluster, and the processes to end after the test."""

    def __init__(self, folder: Path, *, size: int = 3, token: str | None = None) -> None:
        self.folder = folder
        self.token = token or secrets.token_hex(8)
        self.peer_ca = Authority(folder, "peer")
        self.client_ca = Authority(folder, "client")
        self.processes: list[subprocess.Popen[bytes]] = []
        net = next(_net)
        addresses = [f"127.{64 + net // 256}.{net % 256}.{i}" for i in range(1, size + 1)]
        self.members = [self._member(n, a) for n, a in enumerate(addresses, 1)]
        ids = sorted(m.member_id for m in self.members)
        self.cluster_id = id_of(*(i.to_bytes(8, "big") for i in ids))
        for member in self.members:
            member.others = [m for m in self.members if m is not member]
            member.configure()

    def _member(self, number: int, address: str) -> Member:
        name = f"icc-etcd-{number}"
        folder = self.folder / name
        self.peer_ca.issue(folder / "pki/peer", address)
        self.client_ca.issue(folder / "pki/server", address)
        (folder / "console").touch()
        (folder / "bin").mkdir()
        member_id = id_of(f"https://{address}:2380".encode(), self.token.encode())
        member = Member(lab=self, name=name, address=address, folder=folder, member_id=member_id)
        member.unit()
        member.stand_in(
            "systemctl",
            f"""
            case $1 in
                show) while read -r line; do echo "$line"; done <{folder}/unit ;;
                start | restart)
                    [ -e {folder}/boot ] && [ "$2" = --no-block ] || exit 0
                    /bin/sh {folder}/boot >>{folder}/log 2>&1 &
                    echo $! >{folder}/etcd.pid ;;
            esac""",
        )
        return member

    def spawn(self, command: list[str], member: Member, **env: str) -> subprocess.Popen[bytes]:
        """Start a process that will not outlive the test; its output goes to the member's log."""
        with (member.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **env},
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def form(self, *members: Member) -> dict[str, subprocess.Popen[bytes]]:
        """Start etcd on these members, unchecked, and wait for the cluster to take writes."""
        running = {m.name: m.start_etcd() for m in members}
        for member in members:
            eventually(lambda member=member: member.put("formed", "yes"))
        return running

    def end(self, *processes: subprocess.Popen[bytes]) -> None:
        for process in processes or self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # a shell may have a child of its own
            process.wait()

    def close(self) -> None:
        """End everything, and look for key material where none may be."""
        self.end()
        for file in self.folder.glob("*/etcd.pid"):  # begun by the stand-in for systemctl
            with suppress(ProcessLookupError):
                os.kill(int(file.read_text()), signal.SIGKILL)
        for member in self.members:
            secrets = [k.read_text().split()[4] for k in member.folder.glob("pki/*-key.pem")]
            for file in (member.folder / name for name in ("state/result.json", "console", "log")):
                text = file.read_text() if file.exists() else ""
                assert not any(secret in text for secret in ("PRIVATE KEY", *secrets)), file


def https(
    url: str, ca: Path, credential: tuple[Path, Path] | None = None, body: bytes | None = None
) -> tuple[Any, str]:
    """Fetch JSON from a member over mutually authenticated TLS."""
    context = ssl.create_default_context(cafile=ca)
    if credential:
        context.load_cert_chain(*credential)
    handler = urllib.request.HTTPSHandler(context=context)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), handler)
    with opener.open(url, body, timeout=5) as response:
        return json.load(response), response.headers.get("X-Etcd-Cluster-ID", "")


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _me() -> str:
    return pwd.getpwuid(os.getuid()).pw_name
