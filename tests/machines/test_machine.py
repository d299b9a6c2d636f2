"""The parts of a machine that show without one."""

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from .machine import AgentSilentError, Console, GuestAgent, GuestCrashedError


def test_a_console_is_read_in_whole_lines(tmp_path: Path) -> None:
    """A line counts once it is complete, without the terminal's codes."""
    log = tmp_path / "console.log"
    console = Console("etcd-1", log)
    log.write_bytes(b"[\x1b[0;32m  OK  \x1b[0m] Started a\r\nimagegen: etcd-1: hea")
    assert console.find("etcd-1") is None
    with log.open("ab") as more:
        more.write(b"lthy: follow\n")
    assert [line.text for line in console.lines if "OK" in line.text] == ["[  OK  ] Started a"]
    assert console.find("etcd-1: healthy")


def test_a_new_boot_forgets_the_lines_of_the_last(tmp_path: Path) -> None:
    """What the boot before printed does not answer for this one."""
    log = tmp_path / "console.log"
    console = Console("etcd-1", log)
    log.write_bytes(b"imagegen: etcd-1: healthy: follow\n")
    console.begin_boot()
    assert console.find("healthy") is None


@pytest.mark.parametrize(
    "line",
    [
        b"[    2.1] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n",
        b"[   97.0] Oops: double fault: 0000 [#1] PREEMPT SMP NOPTI\r\n",
        b"[  120.4] Out of memory: Killed process 713 (etcd)\r\n",
    ],
)
def test_a_crash_on_the_console_ends_the_wait(tmp_path: Path, line: bytes) -> None:
    """Whoever reads the console learns of the crash at once, and from which machine."""
    log = tmp_path / "console.log"
    console = Console("etcd-1", log)
    log.write_bytes(line)
    with pytest.raises(GuestCrashedError, match="etcd-1"):
        console.read()


class FakeAgent:
    """The protocol of QEMU's guest agent, for a guest that knows some files."""

    def __init__(self, path: Path, stale: bytes = b"") -> None:
        self._stale = stale
        self.written = b""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as stream:
                stream.write(self._stale)
                for line in stream:
                    request = json.loads(line.lstrip(b"\xff"))
                    answer = self._answer(request["execute"], request["arguments"])
                    sync = request["execute"] == "guest-sync-delimited"
                    stream.write(b"\xff" * sync + json.dumps(answer).encode() + b"\n")
                    stream.flush()

    def _answer(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        match command:
            case "guest-sync-delimited":
                return {"return": arguments["id"]}
            case "guest-exec":
                return {"return": {"pid": 42}}
            case "guest-exec-status":
                status = {"exited": True, "exitcode": 3, "out-data": "b25l", "err-data": "dHdv"}
                return {"return": status}
            case "guest-file-open" if arguments["path"] in ("/etc/hostname", "/run/new"):
                return {"return": 7}
            case "guest-file-open":
                return {"error": {"desc": "failed to open file: No such file or directory"}}
            case "guest-file-write":
                self.written += base64.b64decode(arguments["buf-b64"])
                return {"return": {}}
            case "guest-file-read":
                return {"return": {"buf-b64": "ZXRjZC0xCg=="}}
            case _:
                return {"return": {}}


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[FakeAgent]:
    guest = FakeAgent(tmp_path / "agent.sock", stale=b'{"return": "to somebody else"}\n')
    yield guest
    guest.close()


@pytest.fixture
def agent(guest: FakeAgent, tmp_path: Path) -> GuestAgent:
    return GuestAgent(tmp_path / "agent.sock")


def test_the_agent_writes_files(agent: GuestAgent, guest: FakeAgent) -> None:
    """What is written arrives as it is."""
    agent.write("/run/new", "naïve\n")
    assert guest.written.decode() == "naïve\n"


def test_the_agent_runs_programs(agent: GuestAgent) -> None:
    """Status and both outputs, past the answer that an earlier caller did not wait for."""
    done = agent.run("false")
    assert (done.returncode, done.stdout, done.stderr) == (3, "one", "two")


def test_the_agent_reads_files(agent: GuestAgent) -> None:
    """A missing file is an answer, not an error."""
    assert agent.read("/etc/hostname") == "etcd-1\n"
    assert agent.read("/etc/missing") is None


def test_a_silent_agent_is_not_waited_for(tmp_path: Path) -> None:
    """QEMU accepts the connection long before the guest listens."""
    with socket.socket(socket.AF_UNIX) as qemu:
        qemu.bind(str(tmp_path / "agent.sock"))
        qemu.listen()
        with pytest.raises(AgentSilentError):
            GuestAgent(tmp_path / "agent.sock").call("guest-ping", timeout=0.1)
