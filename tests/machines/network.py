"""One LAN for the guests and the suite's clients, with no way out.

The LAN is a bridge in a network namespace of its own: addresses of a spec
cannot clash with the host's, and a guest that wants the internet, DNS, NTP or
a gateway that forwards finds none.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from .host import TimedOutError, run, wait_for

BRIDGE = "lan"
# The suite's end of the LAN; 10.240.0.1 is the gateway of the example's network.
ADDRESSES = ("10.240.0.1/24", "fd00:240::1/64")
PACKAGE_SOURCE = "http://10.240.0.1"


class Network:
    """The LAN, there while the context is open.

    Its name carries our process ID, so that a later run knows what one that
    was killed has left, and what belongs to another that is running.
    """

    PREFIX = "imagegen-boot-"

    def __init__(self) -> None:
        self.name = f"{self.PREFIX}{os.getpid()}"
        self._ports = 0

    def __enter__(self) -> Self:
        remove_leftovers()
        run("ip", "netns", "add", self.name)
        try:
            self._ip("link", "set", "lo", "up")
            self._ip("link", "add", BRIDGE, "type", "bridge")
            self._ip("link", "set", BRIDGE, "up")
            for address in ADDRESSES:
                # Nobody else is here yet; the check would only delay its use.
                self._ip("address", "add", address, "dev", BRIDGE, "nodad")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        run("ip", "netns", "delete", self.name)

    def _ip(self, *argv: str) -> None:
        run("ip", "-netns", self.name, *argv)

    def add_port(self) -> str:
        """A tap device on the LAN for one machine."""
        port = f"port{self._ports}"
        self._ports += 1
        self._ip("tuntap", "add", port, "mode", "tap")
        self._ip("link", "set", port, "master", BRIDGE, "up")
        return port

    def command(self, *argv: str) -> tuple[str, ...]:
        """What to call for ``argv`` to run on the LAN."""
        return ("ip", "netns", "exec", self.name, *argv)

    def spawn(self, *argv: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a program on the LAN that ends with us, however we end.

        The kernel kills it when the thread that started it is gone: call this
        from the main thread. Its group is its own, so ^C ends us and we end it.
        """
        with log.open("ab") as output:
            return subprocess.Popen(
                ("setpriv", "--pdeathsig", "KILL", *self.command(*argv)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def client(self, *argv: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run a client on the LAN: its answer and exit status are for the caller to judge."""
        command = self.command(*argv)
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise TimedOutError(f"{' '.join(argv)}: not within {timeout:.0f} s") from None


class WebServer:
    """A folder over HTTP at the suite's end of the LAN, until switched off."""

    def __init__(self, network: Network, folder: Path, log: Path, *, port: int = 80) -> None:
        self._network, self._folder, self._log, self._port = network, folder, log, port
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.switch_on()
        return self

    def __exit__(self, *_: object) -> None:
        self.switch_off()

    @property
    def url(self) -> str:
        """Where the guests find it."""
        return f"http://10.240.0.1:{self._port}"

    def switch_on(self) -> None:
        """Serve, and return when clients are answered."""
        server = (sys.executable, "-m", "http.server", str(self._port), "--bind", "::")
        self._server = self._network.spawn(*server, "--directory", str(self._folder), log=self._log)
        ask = ("curl", "--silent", "--fail", "--output", "/dev/null", self.url)
        wait_for(
            lambda: self._network.client(*ask).returncode == 0,
            what=f"{self.url} answers",
            timeout=30,
        )

    def switch_off(self) -> None:
        """Refuse connections from now on."""
        if self._server:
            self._server.kill()
            self._server.wait()
            self._server = None


@contextmanager
def dhcp_server(network: Network, leases: Mapping[str, str], log: Path) -> Iterator[None]:
    """Give each MAC address its address on the LAN; nothing else, no route and no name server."""
    hosts = (f"--dhcp-host={mac},{address}" for mac, address in leases.items())
    server = network.spawn(
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--port=0"),
        *(f"--interface={BRIDGE}", "--bind-interfaces", "--dhcp-range=10.240.0.0,static"),
        *("--dhcp-option=option:router", "--dhcp-option=option:dns-server"),
        *("--dhcp-leasefile=/dev/null", "--leasefile-ro", "--log-dhcp", "--log-facility=-", *hosts),
        log=log,
    )
    try:
        yield
    finally:
        server.kill()
        server.wait()


def remove_leftovers() -> None:
    """Remove the namespaces of runs that are dead; their machines died with them."""
    for name in _namespaces():
        if (match := re.fullmatch(rf"{Network.PREFIX}(\d+)", name)) and not _alive(int(match[1])):
            run("ip", "netns", "delete", name)


def _namespaces() -> Sequence[str]:
    listed = run("ip", "netns", "list").splitlines()
    return [line.split()[0] for line in listed]


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
