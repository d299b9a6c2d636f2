"""Real etcd: what its source says that it knows, and what it does with settings."""

from __future__ import annotations

import re
import socket
import subprocess
from base64 import b64encode
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException
from json import dumps
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

from imagegen.etcd.variables import SETTINGS, Version
from tests.conftest import require_program

# The longest member that a spec can describe: a host name of 63 and an IPv6 address.
LONGEST_NAME = "n" * 63
LONGEST_URL = "https://[fd00:1111:2222:3333:4444:5555:6666:7777]:65535"


class Etcd(NamedTuple):
    """A real etcd."""

    path: Path
    version: Version

    @classmethod
    def installed(cls, name: str) -> Etcd:
        """The one of a name such as ``3.6``; without it the test is skipped."""
        path = Path(require_program(f"etcd-{name}"))
        output = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
        version = Version.parse(output.stdout.split("\n")[0].removeprefix("etcd Version: "))
        assert name in (version.branch, str(version))
        return cls(path, version)

    @property
    def source(self) -> Path:
        """The Go source of its server, which .ci/tools puts beside what it builds."""
        return self.path.resolve().parent / "source"

    def knows(self, *names: str) -> bool:
        """Whether our table says so."""
        return all(SETTINGS[name].span.covers(self.version) for name in names)

    # --- a start that always fails, and says how far it came --------------------------

    def log(self, variables: Mapping[str, str]) -> str:
        """What it prints. A process that hangs is ended by its time-out.

        Nothing can be made below /proc, and the data directory is made last: by
        then every flag has been read and judged.
        """
        harmless = {
            "ETCD_LISTEN_PEER_URLS": "http://127.0.0.1:0",
            "ETCD_LISTEN_CLIENT_URLS": "http://127.0.0.1:0",
            "ETCD_ADVERTISE_CLIENT_URLS": "http://127.0.0.1:1",
            "ETCD_DATA_DIR": "/proc/etcd/data",
            "ETCD_LOGGER": "zap",  # as it is rendered for 3.4
        }
        result = subprocess.run(
            [self.path], env={**harmless, **variables}, capture_output=True, text=True, timeout=60
        )
        return result.stdout + result.stderr

    def unrecognized(self, variables: Mapping[str, str]) -> set[str]:
        """Those that it says it does not know."""
        pattern = r'unrecognized environment variable(?:","environment-variable":")? ?(ETCD_\w+)='
        return set(re.findall(pattern, self.log(variables)))

    def takes(self, variables: Mapping[str, str]) -> bool:
        """Whether it reads and accepts all of them."""
        return "cannot access data directory" in self.log(variables)

    # --- a member by itself -----------------------------------------------------------

    def trouble(
        self, variables: Mapping[str, str], directory: Path, *, expected: str = ""
    ) -> str | None:
        """What keeps a member with these settings from serving; None if it serves.

        It serves once it has answered a write, a read and a watch on loopback. It does
        not once it has ended, has said what is ``expected`` (a pattern), or after 30 s.
        """
        client, peer = _free_ports(2)
        own = {
            "ETCD_NAME": LONGEST_NAME,
            "ETCD_DATA_DIR": str(directory / "data"),
            "ETCD_LISTEN_PEER_URLS": f"http://127.0.0.1:{peer}",
            "ETCD_INITIAL_ADVERTISE_PEER_URLS": f"http://127.0.0.1:{peer}",
            "ETCD_INITIAL_CLUSTER": f"{LONGEST_NAME}=http://127.0.0.1:{peer}",
            "ETCD_LISTEN_CLIENT_URLS": f"http://127.0.0.1:{client}",
            "ETCD_ADVERTISE_CLIENT_URLS": LONGEST_URL,
            "ETCD_LOGGER": "zap",
        }
        log, answer = directory / "log", ""
        with log.open("wb") as output:
            process = subprocess.Popen(
                [self.path], env={**own, **variables}, stdout=output, stderr=output
            )
        try:
            end = monotonic() + 30
            while process.poll() is None and monotonic() < end:
                try:
                    answer = next((a for a in _ask(client) if a), "")
                except (OSError, HTTPException) as error:
                    answer = repr(error)
                if not answer:
                    return None
                said = log.read_text() + answer
                if expected and re.search(expected, said):
                    return said
                sleep(0.05)
        finally:
            process.kill()
            process.wait()
        return log.read_text() + answer


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def _ask(port: int) -> Iterator[str]:
    """A write, a read and a watch; of each, what is wrong with its answer."""
    key, value = b64encode(b"key").decode(), b64encode(b"value").decode()
    for path, request, wanted in (
        ("/v3/kv/put", {"key": key, "value": value}, "revision"),
        ("/v3/kv/range", {"key": key}, value),
        ("/v3/watch", {"create_request": {"key": key}}, "created"),
    ):
        connection = HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("POST", path, dumps(request))
            line = connection.getresponse().readline().decode()  # a watch goes on after it
        finally:
            connection.close()
        yield "" if wanted in line else f"{path}: {line}"


# --- its source -----------------------------------------------------------------------

#: Flags that no variable sets, each with the reason.
NOT_SETTINGS: Mapping[str, str] = {
    "version": "prints the version and ends; etcd warns of ETCD_VERSION, and unsets it"
}

_CALL = re.compile(r"^[ \t]*fs\.\w*Var\(", re.MULTILINE)
_NAME = re.compile(r'"([a-z0-9][a-z0-9.-]*)"\s*,')


def flags_of(source: Path) -> set[str]:
    """Every flag that sets something, by its name on the command line.

    Whatever defines a flag in a way that is not known here is a failed assertion.
    """
    text = "\n".join(
        path.read_text()
        for folder in ("embed", "etcdmain")
        for path in sorted((source / folder).glob("*.go"))
        if not path.name.endswith("_test.go")
    )
    flags: list[str] = []
    calls = [match.end() for match in _CALL.finditer(text)]
    for start, following in zip(calls, [*calls[1:], len(text)], strict=True):
        call = text[start:following]
        if call.startswith("&flags.IgnoredFlag{Name: f}, f,"):
            continue  # the loop over those that ignored_flags_of reads
        name = _NAME.search(call.partition("\n\n")[0])
        assert name, f"a flag without a name: {call[:100]!r}"
        flags.append(name[1])
    for constant in re.findall(r"\.AddFlag\(fs, (\w+)\)", text):
        [name_of_constant] = re.findall(rf'^\s*{constant}\s+= "(.+)"$', text, re.MULTILINE)
        flags.append(name_of_constant)
    # Other ways to define one, such as fs.Func, and other flag sets would be news.
    defined = re.findall(r"\bfs\.(\w+)\(|(\w+)\(fs\b", text)
    assert {a or b for a, b in defined if not a.endswith("Var")} <= {"AddFlags", "AddFlag"}
    assert len(re.findall(r"\bflag\.NewFlagSet\(", text)) == 1
    assert len(flags) == len(set(flags)), "a flag is defined twice"
    assert len(flags) > 100, f"only {len(flags)} flags found in {source}"
    return set(flags) - NOT_SETTINGS.keys()


def ignored_flags_of(source: Path) -> set[str]:
    """Flags of earlier releases that etcd takes, and does nothing with."""
    text = (source / "etcdmain/config.go").read_text()
    [names] = re.findall(r"^\tignored = \[\]string\{(.*?)^\t\}", text, re.MULTILINE | re.DOTALL)
    return set(re.findall(r'"(.+)"', names))


def gates_of(source: Path) -> set[str]:
    """The feature gates of the server; none before 3.6."""
    path = source / "features/etcd_features.go"
    if not path.exists():
        return set()
    text = path.read_text()
    names = dict(re.findall(r'^\t(\w+) +featuregate\.Feature = "(\w+)"$', text, re.MULTILINE))
    known = re.findall(r"^\t+(\w+): +\{Default: ", text, re.MULTILINE)
    assert len(known) == len(names) > 5, f"{len(known)} of {len(names)} gates in {path}"
    return {names[constant] for constant in known}


def gate_flags_of(source: Path) -> dict[str, str]:
    """The gate that took each experimental flag's place, where a release knows both."""
    path = source / "features/etcd_features.go"
    text = path.read_text() if path.exists() else ""
    return dict(re.findall(r'"(experimental-[a-z-]+)": +(\w+),', text))
