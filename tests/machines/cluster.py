"""The members of one imagegen output directory, each with its machine."""

import json
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from .host import BootError, T, TimedOutError, wait_for
from .image import Image
from .machine import Machine
from .network import Network

# In the order of Software's fields.
_WHAT_RUNS = r"""
. /etc/os-release; echo "$PRETTY_NAME"
uname -m; uname -r
systemctl --version | sed -n '1s/.*(\(.*\))/\1/p'
python3 --version | cut -d ' ' -f 2
dpkg-query --show --showformat '${Version}\n' cloud-init
etcd=/proc/$(pidof etcd)/exe
"$etcd" --version | sed -n 's/^etcd Version: //p'
readlink "$etcd"
"""

# Printed by cloud-init's last module. It has no outcome; `cloud-init status` does.
CLOUD_INIT_DONE = r"Cloud-init v\..* finished at"
# Marks, not promises: five machines share two emulated cores.
FIRST_BOOT = 1500.0
LATER_BOOT = 900.0


@dataclass(frozen=True, order=True)
class Software:
    """What a member runs on, as its own machine says: versions, and which etcd by its path."""

    distribution: str
    architecture: str
    kernel: str
    systemd: str
    python: str
    cloud_init: str
    etcd: str
    program: str

    def __str__(self) -> str:
        """For people."""
        return (
            f"{self.distribution} ({self.architecture}): Linux {self.kernel}, systemd "
            f"{self.systemd}, Python {self.python}, cloud-init {self.cloud_init}, "
            f"etcd {self.etcd} as {self.program}"
        )


@dataclass(frozen=True)
class Member:
    """What the manifest says of a member, and the machine that is to become it."""

    name: str
    member_id: str
    client_url: str
    machine: Machine

    def state_line(self, state: str) -> str:
        """A pattern for what its console prints as it enters a state."""
        return rf"imagegen: {re.escape(self.name)}: {state}:"

    def sh(self, script: str) -> str:
        """What a shell script prints in the guest; it must succeed."""
        done = self.machine.agent.run("/bin/sh", "-ec", script)
        if done.returncode:
            raise BootError(f"{self.name}: {script}: exit {done.returncode}\n{done.stderr}")
        return done.stdout

    def software(self) -> Software:
        """What it runs; its etcd must be running."""
        return Software(*self.sh(_WHAT_RUNS).splitlines())

    def result(self) -> dict[str, Any]:
        """What the member itself has on record about its first boot."""
        text = self.machine.agent.read("/var/lib/imagegen/result.json")
        return json.loads(text) if text else {}


class Cluster:
    """All members on one LAN, off to begin with, and the client its owner would use."""

    def __init__(
        self,
        output: Path,
        image: Image,
        network: Network,
        directory: Path,
        found: set[Software],
    ) -> None:
        self.network, self.client = network, output / "client"
        self.found = found
        """What its members ran whenever it was whole."""
        manifest = json.loads((output / "manifest.json").read_text())
        self.cluster_id: str = manifest["cluster_id"]
        self.members: list[Member] = []
        for entry in manifest["members"]:
            documents = output / "members" / entry["name"]
            machine = Machine(
                entry["name"],
                image,
                network,
                directory / entry["name"],
                mac=_mac(documents / "network-config"),
                seed=_if_there(documents / "seed.iso"),
                keys=_if_there(documents / "keys.iso"),
            )
            member_id, client_url = entry["member_id"], entry["client_url"]
            self.members.append(Member(entry["name"], member_id, client_url, machine))
        self._power = ExitStack()

    def __enter__(self) -> Self:
        for member in self.members:
            self._power.enter_context(member.machine)
        return self

    def __exit__(self, *_: object) -> None:
        self._power.close()

    def power_on(self, *, seed: int, stagger: float) -> None:
        """Power all members on, in an order and at moments that ``seed`` decides."""
        chance = random.Random(seed)
        for member in chance.sample(self.members, len(self.members)):
            member.machine.power_on()
            self.pause(chance.uniform(0, stagger))

    def check(self) -> None:
        """Raise if any machine has crashed."""
        for member in self.members:
            member.machine.check()

    def pause(self, seconds: float) -> None:
        """Let time pass, with an eye on every console."""
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() >= end, "time passes", seconds + 1)

    def wait(self, condition: Callable[[], T | None], what: str, timeout: float) -> T:
        """Wait for something about the cluster, as long as all its machines live."""
        try:
            return wait_for(condition, what=what, timeout=timeout, alive=self.check)
        except TimedOutError as error:
            consoles = (f"{m.name}:\n{m.machine.console.tail()}" for m in self.members)
            raise TimedOutError("\n".join([str(error), *consoles])) from None

    def wait_for_state(
        self, state: str, members: Iterable[Member] | None = None, timeout: float = FIRST_BOOT
    ) -> None:
        """Wait until the members' consoles have said, in this boot, that they are in a state."""
        for member in self.members if members is None else members:
            self.wait(
                lambda member=member: member.machine.console.find(member.state_line(state)),  # type: ignore[misc]
                f"{member.name} is {state}",
                timeout,
            )

    def serves(self, member: Member) -> bool:
        """Whether a client that asks this member alone gets an answer of the whole cluster."""
        return self.etcdctl("endpoint", "health", members=[member]).returncode == 0

    def wait_until_serving(self, members: Iterable[Member] | None = None) -> None:
        """Wait until each of the members serves."""
        for member in self.members if members is None else members:
            self.wait(
                lambda member=member: self.serves(member),  # type: ignore[misc]
                f"{member.name} serves",
                LATER_BOOT,
            )

    def leader(self) -> Member:
        """The member that leads at the moment."""
        said = self.etcdctl("endpoint", "status", "-w", "json", members=self.members[:1])
        leader = json.loads(said.stdout)[0]["Status"]["leader"]
        return next(member for member in self.members if int(member.member_id, 16) == leader)

    def etcdctl(
        self, *argv: str, members: Iterable[Member] | None = None, timeout: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """Call etcdctl with the built client credential, at the advertised addresses."""
        asked = self.members if members is None else members
        return self.network.client(
            "etcdctl",
            f"--endpoints={','.join(member.client_url for member in asked)}",
            *(f"--cacert={self.client}/ca.pem", f"--cert={self.client}/client.pem"),
            f"--key={self.client}/client-key.pem",
            *argv,
            timeout=timeout,
        )


def _if_there(path: Path) -> Path | None:
    return path if path.exists() else None


def _mac(network_config: Path) -> str:
    """The network card a member's documents are for."""
    config = yaml.safe_load(network_config.read_text())
    mac: str = config["config"][0]["mac_address"]
    return mac
