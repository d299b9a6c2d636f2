"""A built cluster's members as machines of their own, small enough for a test.

A machine is a network namespace and a mount namespace, and a process that
keeps them by sleeping. None of it has a name outside: when the keeper ends,
interfaces and mounts end with it, and it ends with us, even if we are killed.
So there is nothing that a run could leave behind for the next to clean up.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import pytest
import yaml

from imagegen.build.build import build_cluster
from imagegen.build.load import load_spec
from imagegen.build.options import Options
from imagegen.documents import guest
from imagegen.documents.env_file import parse_env
from tests.conftest import ROOT, require_program

from .versions import spec_for

# Nothing of our own environment reaches etcd or its clients, proxies least of all.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# What a machine has for itself: where the seed's files go, and etcd's data.
OWN_DIRECTORIES = ("etc", "var/lib")
PREFIX_LENGTHS = {4: 24, 6: 64}

#: The files of a certificate and its key.
Pair: TypeAlias = tuple[Path | str, Path | str]


def require_lab(version: str) -> None:
    """Skip, or fail where nothing may be skipped, without what a lab is made of."""
    for program in ("curl", "ip", "nsenter", "setpriv", "unshare"):
        require_program(program)
    for program in ("etcd", "etcdctl"):
        require_program(f"{program}-{version}")
    if os.geteuid() != 0:
        pytest.skip("not root, who alone may make namespaces")


def eventually(condition: Callable[[], bool], what: str, *, seconds: float = 60) -> None:
    """Wait until it holds; AssertionError if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)


def _spawn(
    *command: str, env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[bytes]:
    """Start a process that ends with us, however we end.

    The kernel kills it when we are gone. Its session is its own, so ^C is for
    us alone, and we end it in order.
    """
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *command],
        stdin=subprocess.DEVNULL,
        env={"PATH": PATH, **(env or {})},
        start_new_session=True,
        **options,
    )


class Machine:
    """A machine with its own network, /etc and /var/lib; most other files are the host's."""

    def __init__(self, folder: Path, own: tuple[str, ...] = OWN_DIRECTORIES) -> None:
        self.folder = folder
        for name in own:
            (folder / name).mkdir(parents=True)
        binds = "".join(f'mount --bind "$0/{name}" /{name}; ' for name in own)
        # unshare makes all mounts private first: these are never the host's.
        self._keeper = _spawn(
            *("unshare", "--net", "--mount", "sh", "-ec"),
            f"{binds} ip link set lo up; echo on; exec sleep infinity",
            str(folder),
            stdout=subprocess.PIPE,
        )
        assert self._keeper.stdout
        # Until it says so, its namespaces may still be the host's.
        assert self._keeper.stdout.readline() == b"on\n", "no namespaces to be had here"

    @property
    def pid(self) -> int:
        """The process whose namespaces are the machine's."""
        return self._keeper.pid

    def close(self) -> None:
        """End the machine; its interfaces and mounts go with it."""
        if self._keeper.stdout:
            self._keeper.stdout.close()
        self._keeper.kill()
        self._keeper.wait()

    def inside(self, *command: str) -> tuple[str, ...]:
        """What to call for a command to run on this machine."""
        return ("nsenter", f"--target={self.pid}", "--net", "--mount", *command)

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command here; its exit status is for the caller to judge."""
        return subprocess.run(
            self.inside(*command),
            input=stdin, capture_output=True, text=True, timeout=30, env={"PATH": PATH},
            check=False,
        )  # fmt: skip

    def ip(self, *commands: str) -> None:
        """Set up the network, by commands of ip(8)."""
        done = self.run("ip", "-batch", "-", stdin="\n".join(commands))
        assert done.returncode == 0, done.stderr

    def curl(
        self,
        url: str,
        *,
        ca: Path | str,
        credential: Pair | None = None,
        data: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Ask an https URL; with TLS 1.2, where a refusal is an alert in the handshake.

        With HTTP/1.1, as members ask each other: at the peer port etcd has no other.
        """
        options = ["--http1.1", "--tls-max", "1.2", "--cacert", str(ca)]
        if credential:
            options += ["--cert", str(credential[0]), "--key", str(credential[1])]
        if data is not None:
            options += ["--data", data]
        return self.run("curl", "--silent", "--show-error", "--max-time", "10", *options, url)


class Member(Machine):
    """A member's machine as its seed has left it, and the etcd on it.

    Both are root's: handing the keys to etcd's own user is the first boot's part.
    """

    def __init__(
        self,
        folder: Path,
        entry: dict[str, Any],
        user_data: str,
        etcd: str,
        own: tuple[str, ...] = (),
    ) -> None:
        super().__init__(folder, (*OWN_DIRECTORIES, *own))
        self.name: str = entry["name"]
        self.member_id = int(entry["member_id"], 16)
        self.peer_url: str = entry["peer_url"]
        self.client_url: str = entry["client_url"]
        self._etcd_program = etcd
        self._etcd: subprocess.Popen[bytes] | None = None
        for file in yaml.safe_load(user_data)["write_files"]:
            path = folder / file["path"].lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            content = file["content"].encode()
            path.write_bytes(b64decode(content) if file.get("encoding") == "b64" else content)
            path.chmod(int(file["permissions"], 8))

    @property
    def addresses(self) -> tuple[str, ...]:
        """What the machine's network cards have: the addresses it advertises."""
        hosts = (urlsplit(url).hostname or "" for url in (self.peer_url, self.client_url))
        return tuple(dict.fromkeys(hosts))

    @cached_property
    def settings(self) -> dict[str, str]:
        """etcd's environment, as systemd reads it."""
        return parse_env((self.folder / guest.ETCD_DEFAULTS.lstrip("/")).read_text())

    @property
    def peer_credential(self) -> Pair:
        """What it shows other members, by its paths on this machine."""
        return self.settings["ETCD_PEER_CERT_FILE"], self.settings["ETCD_PEER_KEY_FILE"]

    @property
    def log(self) -> str:
        """All that etcd has said."""
        return (self.folder / "log").read_text()

    def start(self, **changes: str) -> None:
        """Start etcd with the environment it was given, and nothing else but these changes."""
        with (self.folder / "log").open("ab") as log:
            self._etcd = _spawn(
                *self.inside(self._etcd_program),
                env=self.settings | changes,
                stdout=log,
                stderr=log,
            )

    @property
    def started(self) -> bool:
        """Whether etcd was ever a process here."""
        return self._etcd is not None

    @property
    def running(self) -> bool:
        """Whether etcd is a process now."""
        return self._etcd is not None and self._etcd.poll() is None

    def start_check(self) -> subprocess.Popen[bytes]:
        """What stands before etcd in its unit, as it came with the seed; to be waited for."""
        path = self.folder / guest.CONFIG.lstrip("/")
        config = json.loads(path.read_text())
        path.write_text(json.dumps({**config, "console": str(self.folder / "console")}))
        program = str(self.folder / guest.PROGRAM.lstrip("/"))
        path_to_tools = f"{Path(self._etcd_program).resolve().parent}:{PATH}"
        return _spawn(
            *self.inside(sys.executable, program, "start-check"), env={"PATH": path_to_tools}
        )

    def boot(self) -> None:
        """Start etcd once the check in front of it has said yes."""
        assert self.start_check().wait(60) == 0, self.result
        self.start()

    @property
    def result(self) -> dict[str, Any]:
        """How far first boot says it has come."""
        found: dict[str, Any] = json.loads((self.folder / guest.RESULT.lstrip("/")).read_text())
        return found

    def stop(self) -> None:
        """SIGTERM, as systemd stops it: a leader hands over before it goes."""
        if self._etcd:
            self._etcd.terminate()
            self._etcd.wait(30)

    def kill(self) -> None:
        """SIGKILL: etcd has no time to say goodbye."""
        if self._etcd:
            self._etcd.kill()
            self._etcd.wait()

    def close(self) -> None:
        self.kill()
        super().close()


class Lab:
    """The members of an output directory on their LAN, and their operator's machine beside them."""

    def __init__(
        self,
        built: Path,
        version: str,
        folder: Path,
        closing: ExitStack,
        own: tuple[str, ...] = (),
    ) -> None:
        self._built, self._folder, self._closing, self._own = built, folder, closing, own
        self.manifest = json.loads((built / "manifest.json").read_text())
        self.client = built / "client"
        self._programs = folder / "bin"
        self._programs.mkdir(parents=True)
        (self._programs / "etcdctl").symlink_to(require_program(f"etcdctl-{version}"))
        self._etcd = require_program(f"etcd-{version}")
        self.operator = Machine(folder / "operator")
        closing.callback(self.operator.close)
        self._bridges: dict[IPv4Network | IPv6Network, str] = {}
        self._machines = count()
        self.members = [self._machine(entry) for entry in self.manifest["members"]]
        #: What each member has said by the time all were healthy.
        self.formation: dict[str, str] = {}

    def _machine(self, entry: dict[str, Any]) -> Member:
        """A machine that boots with a member's documents, as they are now."""
        number = next(self._machines)
        user_data = (self._built / "members" / entry["name"] / "user-data").read_text()
        folder = self._folder / f"{entry['name']}-{number}"
        member = Member(folder, entry, user_data, self._etcd, self._own)
        self._closing.callback(member.close)
        self._connect(member, number)
        return member

    def new_machine(self, name: str) -> Member:
        """A fresh machine for a member, in the place of the one it has, if any."""
        old = [member for member in self.members if member.name == name]
        for member in old:
            member.close()
        self.manifest = json.loads((self._built / "manifest.json").read_text())
        [entry] = [entry for entry in self.manifest["members"] if entry["name"] == name]
        new = self._machine(entry)
        self.members = [member for member in self.members if member.name != name] + [new]
        return new

    def _connect(self, member: Member, number: int) -> None:
        """Give a member the addresses of its URLs, on cards of one bridge per network.

        The bridges are on the operator's machine, which is in all these networks.
        """
        for card, address in enumerate(member.addresses):
            length = PREFIX_LENGTHS[ip_address(address).version]
            network = ip_network(f"{address}/{length}", strict=False)
            if network not in self._bridges:
                self._bridges[network] = bridge = f"lan{len(self._bridges)}"
                self.operator.ip(
                    f"link add name {bridge} type bridge",
                    f"address add {network[1]}/{length} dev {bridge} nodad",
                    f"link set {bridge} up",
                )
            port = f"port{number}-{card}"
            self.operator.ip(
                f"link add name {port} type veth peer name eth{card} netns {member.pid}",
                f"link set {port} master {self._bridges[network]} up",
            )
            # nodad: etcd cannot listen on an address that is still being probed for.
            member.ip(
                f"address add {address}/{length} dev eth{card} nodad",
                f"link set eth{card} up",
            )

    @property
    def client_credential(self) -> Pair:
        """What `imagegen build` gives the operator."""
        return self.client / "client.pem", self.client / "client-key.pem"

    def form(self) -> None:
        """Start all members, in no order, and wait until they are one healthy cluster."""
        # No order, yet the same whenever a cluster of this name is tested.
        shuffled = random.Random(self.manifest["cluster"])
        for member in shuffled.sample(self.members, len(self.members)):
            member.start()
            time.sleep(0.2)  # so that it finds those before it, and not the others
        self.wait_until_healthy()
        self.formation = {member.name: member.log for member in self.members}

    def wait_until_healthy(self) -> None:
        """Wait until every member answers a read that needs a leader."""
        try:
            eventually(self._healthy, "all members healthy")
        except AssertionError as error:
            for member in self.members:
                error.add_note(f"{member.name}: ... {member.log[-1500:]}")
            raise

    def _healthy(self) -> bool:
        for member in self.members:
            assert member.running, f"{member.name}: etcd has ended"
        return self.try_etcdctl("endpoint", "health", "--command-timeout=2s").returncode == 0

    def imagegen(
        self, *arguments: str, script: str = "", cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of ours as the operator would, beside the spec; or a script with ours."""
        program = ("-c", script) if script else ("-m", "imagegen")
        there = ("sh", "-c", 'cd "$0" && exec "$@"', str(cwd or self._built.parents[1]))
        return subprocess.run(
            self.operator.inside(*there, sys.executable, *program, *arguments),
            capture_output=True, text=True, timeout=120,
            env={"PATH": PATH, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script as the operator would: in the client folder, with etcdctl installed."""
        folder, programs = shlex.quote(str(self.client)), shlex.quote(str(self._programs))
        return self.operator.run("sh", "-ec", f"cd {folder}; PATH={programs}:$PATH\n{script}")

    def try_etcdctl(self, *argv: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """etcdctl with the settings built for it; its exit status is for the caller to judge.

        Some may be replaced, in the environment: etcdctl refuses to choose
        between a variable and a flag.
        """
        replaced = shlex.join(["env", *(f"ETCDCTL_{k}={v}" for k, v in settings.items())])
        command = f"{replaced} {shlex.join(['etcdctl', *argv])}"
        return self.shell(f"set -a; . ./etcdctl.env; set +a; {command}")

    def etcdctl(self, *argv: str, **settings: str) -> str:
        """What etcdctl prints."""
        done = self.try_etcdctl(*argv, **settings)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def build(spec: str, folder: Path) -> Path:
    """The output directory of a spec, which becomes the folder's cluster.yaml."""
    file = folder / "cluster.yaml"
    file.write_text(spec)
    # The real time: etcd compares certificates with its own clock.
    now = datetime.now(UTC)
    options = Options(now=now, output=folder / "out", pki=folder / "pki")
    return build_cluster(load_spec(file, now=now), options).directory


@contextmanager
def formed(spec: str, etcd: str, folder: Path) -> Iterator[Lab]:
    """A cluster that runs this etcd, formed; its cluster.yaml, out and pki are in the folder."""
    require_lab(etcd)
    with lab_of(build(spec_for(etcd, spec), folder), etcd, folder / "lab") as lab:
        yield lab


@contextmanager
def lab_of(built: Path, version: str, folder: Path, own: tuple[str, ...] = ()) -> Iterator[Lab]:
    """The cluster of an output directory, formed; nothing of it is left afterwards.

    ``own`` are further directories that each member has for itself.
    """
    try:
        with ExitStack() as closing:
            lab = Lab(built, version, folder, closing, own)
            lab.form()
            yield lab
    finally:
        # etcd allots 128 MB for each member's log of writes, and pytest keeps its folders.
        shutil.rmtree(folder, ignore_errors=True)
