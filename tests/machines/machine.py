"""One virtual machine: its power, disks, serial console and guest agent."""

import base64
import json
import os
import re
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from .host import BootError, T, TimedOutError, run, wait_for
from .image import Image
from .network import Network

CRASH = re.compile(r"Kernel panic|Oops:|Out of memory: Killed process")
_TERMINAL_CODES = re.compile(r"\x1b(\[[0-9;?!]*[ -/]*[@-~]|[()].|c)|\r")


class GuestCrashedError(BootError):
    """The guest's kernel gave up, or had to kill for memory; nothing it does from here counts."""


class AgentSilentError(BootError):
    """The guest agent does not answer: the guest is down, busy or not that far yet."""


class SeedBus(StrEnum):
    """How the seed ISO is attached."""

    VIRTIO = "virtio disk"
    SCSI = "SCSI CD"
    IDE = "IDE CD"

    @property
    def devices(self) -> tuple[str, ...]:
        """QEMU devices of the drive ``seed``."""
        return {
            SeedBus.VIRTIO: ("virtio-blk-pci,drive=seed",),
            SeedBus.SCSI: ("virtio-scsi-pci", "scsi-cd,drive=seed"),
            SeedBus.IDE: ("ide-cd,drive=seed",),
        }[self]


@dataclass(frozen=True)
class Line:
    """One line of a serial console and when it was seen, by our monotonic clock."""

    time: float
    text: str


class Console:
    """A serial console, read while the guest writes it."""

    def __init__(self, name: str, path: Path) -> None:
        self._name, self._path = name, path
        self._path.touch()
        self._offset = 0
        self._rest = ""
        self.lines: list[Line] = []
        """What this boot has printed."""

    def begin_boot(self) -> None:
        """Leave behind what earlier boots have printed."""
        self.read()
        self.lines = []

    def read(self) -> None:
        """Take in what was printed since; raise if it says that the guest has crashed."""
        with self._path.open("rb") as log:
            log.seek(self._offset)
            new = log.read()
        self._offset += len(new)
        now = time.monotonic()
        *texts, self._rest = (self._rest + new.decode(errors="replace")).split("\n")
        self.lines += [Line(now, _TERMINAL_CODES.sub("", text)) for text in texts]
        crash = next((text for text in texts if CRASH.search(text)), None)
        if crash:
            raise GuestCrashedError(f"{self._name}: {crash.strip()}\n{self.tail()}")

    def find(self, pattern: str) -> Line | None:
        """The first line of this boot that matches."""
        self.read()
        return next((line for line in self.lines if re.search(pattern, line.text)), None)

    def tail(self, count: int = 20) -> str:
        """The last lines, for an error message."""
        return "\n".join(f"    {line.text}" for line in self.lines[-count:])


class GuestAgent:
    """QEMU's guest agent: commands in the guest, with no network, keys or users of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def call(self, command: str, *, timeout: float = 30, **arguments: object) -> Any:
        """One request and its answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            try:
                connection.connect(str(self._path))
                stream = connection.makefile("rwb")
                # What an earlier, interrupted caller did not read is before the 0xff.
                token = secrets.randbits(31)
                stream.write(b"\xff" + _request("guest-sync-delimited", id=token))
                stream.flush()
                while stream.read(1) not in (b"\xff", b""):
                    pass
                if json.loads(stream.readline() or "{}") != {"return": token}:
                    raise AgentSilentError(f"{command}: out of step with the guest agent")
                stream.write(_request(command, **arguments))
                stream.flush()
                answer = json.loads(stream.readline() or "{}")
            except OSError as error:
                raise AgentSilentError(f"{command}: {error}") from None
        if "error" in answer:
            raise BootError(f"{command}: {answer['error']['desc']}")
        return answer.get("return")

    def answers(self) -> bool:
        """Whether the guest is up far enough to be asked."""
        with suppress(AgentSilentError):
            self.call("guest-ping", timeout=5)
            return True
        return False

    def run(self, *argv: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a program in the guest, to its end."""
        pid = self.call("guest-exec", path=argv[0], arg=list(argv[1:]), **{"capture-output": True})[
            "pid"
        ]

        def ended() -> dict[str, Any] | None:
            status: dict[str, Any] = self.call("guest-exec-status", pid=pid)
            return status if status["exited"] else None

        status = wait_for(ended, what=" ".join(argv), timeout=timeout)
        out, err = (
            base64.b64decode(status.get(key, "")).decode(errors="replace")
            for key in ("out-data", "err-data")
        )
        code = status.get("exitcode", -status.get("signal", 0))
        return subprocess.CompletedProcess(argv, code, out, err)

    def read(self, path: str) -> str | None:
        """A small file of the guest, or None if there is none; starts no program."""
        try:
            handle = self.call("guest-file-open", path=path)
        except AgentSilentError:
            raise
        except BootError as error:
            if "No such file" in str(error):
                return None
            raise
        try:
            answer = self.call("guest-file-read", handle=handle, count=1 << 20)
        finally:
            self.call("guest-file-close", handle=handle)
        return base64.b64decode(answer["buf-b64"]).decode()

    def write(self, path: str, content: str) -> None:
        """A file for root in the guest; unlike an argument, no log has its content."""
        handle = self.call("guest-file-open", path=path, mode="w")
        try:
            encoded: Any = base64.b64encode(content.encode()).decode()
            self.call("guest-file-write", handle=handle, **{"buf-b64": encoded})
        finally:
            self.call("guest-file-close", handle=handle)


def _request(command: str, **arguments: object) -> bytes:
    return json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"


class Monitor:
    """QEMU's own side of a running machine: what an operator plugs in and pulls out."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def call(self, command: str, **arguments: object) -> Any:
        """One request and its answer (QEMU's QMP specification)."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(self._path))
            stream = connection.makefile("rwb")
            stream.readline()  # the greeting
            answer: dict[str, Any] = {}
            for request in (_request("qmp_capabilities"), _request(command, **arguments)):
                stream.write(request)
                stream.flush()
                answer = {"event": ""}
                while "event" in answer:
                    answer = json.loads(stream.readline())
        if "error" in answer:
            raise BootError(f"{command}: {answer['error']['desc']}")
        return answer["return"]


class Machine:
    """A virtual machine on the LAN; off until powered on, and off when its context ends.

    ``seed``, ``bus``, ``keys``, ``data_disk`` and ``serial`` may change while it
    is off: the next power-on finds what an operator has attached or detached. So
    may ``image``, which counts from the next fresh disk on.
    """

    def __init__(
        self,
        name: str,
        image: Image,
        network: Network,
        directory: Path,
        *,
        mac: str,
        seed: Path | None = None,
        keys: Path | None = None,
        bus: SeedBus = SeedBus.VIRTIO,
        data_disk: Path | None = None,
        memory: int = 512,
    ) -> None:
        self.name = name
        self.seed, self.bus, self.data_disk = seed, bus, data_disk
        self.keys = keys
        self.extra: Path | None = None
        """A further disk that is only read."""
        self.serial: str | None = None
        """What its firmware says is its serial number (SMBIOS type 1)."""
        self.image, self._network, self._directory = image, network, directory
        self._mac, self._memory = mac, memory
        self._disk = directory / "disk.qcow2"
        self._port = network.add_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.powered_on = 0.0
        """When, by our monotonic clock."""
        directory.mkdir(parents=True)
        self.console = Console(name, directory / "console.log")
        self.agent = GuestAgent(directory / "agent.sock")
        self.monitor = Monitor(directory / "monitor.sock")
        self.wipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.power_off()

    def wipe(self) -> None:
        """Go back to the image's disk, as a provider does who gives the machine anew."""
        assert not self._process, f"{self.name} is on"
        create_disk(self._disk, backing=self.image.disk)

    @contextmanager
    def fresh_disk(self) -> Iterator[None]:
        """With the image's disk in it, and then again with the one it had; off in between."""
        assert not self._process, f"{self.name} is on"
        aside = self._disk.with_suffix(".aside")
        self._disk.rename(aside)
        self.wipe()
        try:
            yield
        finally:
            self.power_off()
            aside.replace(self._disk)

    def power_on(self) -> None:
        """Start, and return at once."""
        assert not self._process, f"{self.name} is on"
        self.console.begin_boot()
        self.powered_on = time.monotonic()
        self._process = self._network.spawn(*self._qemu(), log=self._directory / "qemu.log")

    def power_off(self) -> None:
        """Cut the power: what the guest had not yet written to its disks is lost."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def shut_down(self, timeout: float = 180) -> None:
        """Have the guest turn itself off."""
        process = self._process
        assert process, f"{self.name} is off"
        # It answers only if it refuses.
        with suppress(AgentSilentError):
            self.agent.call("guest-shutdown", timeout=5)
        wait_for(lambda: process.poll() is not None, what=f"{self.name} turns off", timeout=timeout)
        self._process = None

    def reboot(self, timeout: float = 600) -> None:
        """Have the guest reboot, and return when the new boot answers."""
        before = self._boot_id()
        with suppress(AgentSilentError):
            self.agent.call("guest-shutdown", timeout=5, mode="reboot")
        self.wait(lambda: self._boot_id() not in (None, before), "answers again", timeout)

    def _boot_id(self) -> str | None:
        with suppress(AgentSilentError):
            return self.agent.read("/proc/sys/kernel/random/boot_id")
        return None

    def plug(self, image: Path, name: str) -> None:
        """Attach a disk to the running machine."""
        file = {"driver": "file", "filename": str(image)}
        node = {"node-name": name, "driver": "raw", "read-only": True, "file": file}
        self.monitor.call("blockdev-add", **node)
        self.monitor.call("device_add", driver="virtio-blk-pci", drive=name, id=f"{name}-disk")

    def unplug(self, name: str) -> None:
        """Pull a disk out of the running machine; the guest lets go of it first."""
        self.monitor.call("device_del", id=f"{name}-disk")

        def gone() -> bool:
            # Removing what is still in use is refused.
            with suppress(BootError):
                self.monitor.call("blockdev-del", **{"node-name": name})
                return True
            return False

        self.wait(gone, f"lets go of {name}", 120)

    def check(self) -> None:
        """Raise if the guest has crashed or QEMU has ended by itself."""
        self.console.read()
        if self._process and self._process.poll() is not None:
            log = (self._directory / "qemu.log").read_text()
            raise BootError(f"{self.name}: QEMU has ended\n{log}{self.console.tail()}")

    def wait(self, condition: Callable[[], T | None], what: str, timeout: float) -> T:
        """Wait for something about this machine, as long as it lives."""
        try:
            return wait_for(
                condition, what=f"{self.name} {what}", timeout=timeout, alive=self.check
            )
        except TimedOutError as error:
            raise TimedOutError(f"{error}\n{self.console.tail()}") from None

    def wait_for_line(self, pattern: str, timeout: float) -> Line:
        """Wait until this boot has printed a line that matches."""
        return self.wait(lambda: self.console.find(pattern), f"prints {pattern!r}", timeout)

    def memory_used(self) -> int:
        """MiB that the guest could not give away."""
        meminfo = self.agent.read("/proc/meminfo") or ""
        kib = {key: int(value) for key, value in re.findall(r"(\w+): +(\d+) kB", meminfo)}
        return (kib["MemTotal"] - kib["MemAvailable"]) // 1024

    def cpu_seconds(self) -> float:
        """Host CPU spent since power-on; unlike elapsed time it hardly depends on other load."""
        assert self._process, f"{self.name} is off"
        # utime and stime; the name before them may hold anything but a closing parenthesis.
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _qemu(self) -> Sequence[str]:
        disk = "if=none,cache=unsafe,discard=unmap,format=qcow2"
        kind = self.image.release.architecture
        command = [
            *(f"qemu-system-{kind.machine}", "-name", self.name, "-nodefaults", "-no-user-config"),
            *("-machine", f"{kind.board},accel={kind.accelerator}", "-cpu", kind.cpu, "-smp", "1"),
            *("-m", str(self._memory), "-display", "none", "-rtc", "base=utc"),
            *("-kernel", str(self.image.kernel), "-initrd", str(self.image.initrd)),
            *("-append", kind.kernel_arguments),
            *("-chardev", f"file,id=console,path={self._directory}/console.log,append=on"),
            *("-serial", "chardev:console"),
            # Unsafe is about the host's crash: what a guest's disk took outlives its QEMU.
            *("-drive", f"{disk},id=root,file={self._disk}"),
            *("-device", "virtio-blk-pci,drive=root"),
            *("-netdev", f"tap,id=lan,ifname={self._port},script=no,downscript=no"),
            *("-device", f"virtio-net-pci,netdev=lan,mac={self._mac},romfile="),
            *("-device", "virtio-rng-pci", "-device", "virtio-serial-pci"),
            *("-chardev", f"socket,id=agent,path={self._directory}/agent.sock,server=on,wait=off"),
            *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
            *("-qmp", f"unix:{self._directory}/monitor.sock,server=on,wait=off"),
        ]
        if self.serial:
            command += ["-smbios", f"type=1,serial={self.serial}"]
        if self.data_disk:
            command += ["-drive", f"{disk},id=data,file={self.data_disk}"]
            command += ["-device", "virtio-blk-pci,drive=data,serial=data"]
        if self.seed:
            command += ["-drive", f"if=none,id=seed,format=raw,readonly=on,file={self.seed}"]
            for device in self.bus.devices:
                command += ["-device", device]
        if self.extra:
            command += ["-drive", f"if=none,id=extra,format=raw,readonly=on,file={self.extra}"]
            command += ["-device", "virtio-blk-pci,drive=extra"]
        if self.keys:
            node = (
                f"driver=raw,node-name=keys,read-only=on,file.driver=file,file.filename={self.keys}"
            )
            command += ["-blockdev", node, "-device", "virtio-blk-pci,drive=keys,id=keys-disk"]
        return command


def create_disk(path: Path, *, backing: Path | None = None, size: str = "1G") -> None:
    """A disk that reads as ``backing`` until it is written, or an empty one."""
    path.unlink(missing_ok=True)
    if backing:
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(backing), str(path))
    else:
        run("qemu-img", "create", "-q", "-f", "qcow2", str(path), size)
