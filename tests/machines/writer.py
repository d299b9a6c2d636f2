"""A client that writes at a steady rate, whatever happens to the cluster, and keeps count.

    python -m tests.machines.writer CLIENT-DIRECTORY LOG URL...

Each write is a key of its own. What one member does not take another is asked
to, once, after the time of an election; a write that was not acknowledged then
is counted as failed, and not written again. A line of the log for each write: its
number, and how many tries it took, or 0 if none was acknowledged.
"""

import base64
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from imagegen.base.problems import ImagegenError
from imagegen.live.client import Caller

from .cluster import Cluster
from .host import BootError

PREFIX = "/steady/"
#: Seconds from one write to the next.
PACE = 0.25
#: Seconds from the first try to the second, etcd's election timeout: in between there may be
#: no leader, of which every member says so at once.
RETRY_AFTER = 1.0
#: Seconds; emulated machines need some of them.
TIMEOUT = 10.0


def main(client: Path, log: Path, urls: Sequence[str]) -> None:
    """Write until somebody ends us."""
    caller = Caller(
        client / "ca.pem", client / "client.pem", client / "client-key.pem", timeout=TIMEOUT
    )
    with log.open("a", buffering=1) as lines:
        for number in count():
            began = time.monotonic()
            lines.write(f"{number} {_tries(caller, urls, number)}\n")
            time.sleep(max(0.0, PACE - (time.monotonic() - began)))


def _tries(caller: Caller, urls: Sequence[str], number: int) -> int:
    body = {"key": _encoded(f"{PREFIX}{number}"), "value": _encoded(str(number))}
    for tries in (1, 2):
        if tries == 2:
            time.sleep(RETRY_AFTER)
        try:
            caller.call(urls[(number + tries) % len(urls)], "/v3/kv/put", body)
        except ImagegenError:
            continue
        return tries
    return 0


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@dataclass(frozen=True)
class Writes:
    """What became of the writes of a time."""

    acknowledged: frozenset[int]
    retried: int
    failed: int

    def __str__(self) -> str:
        return (
            f"{len(self.acknowledged)} writes acknowledged, {self.retried} of them at the second "
            f"try, {self.failed} not"
        )


class Writer:
    """The client at work."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def writes(self) -> Writes:
        """What became of all writes so far."""
        # The last line may be unfinished.
        lines = [line.split() for line in self._log.read_text().split("\n")[:-1]]
        tries = {int(number): int(tries) for number, tries in lines}
        return Writes(
            acknowledged=frozenset(number for number, n in tries.items() if n),
            retried=sum(n > 1 for n in tries.values()),
            failed=sum(not n for n in tries.values()),
        )


@contextmanager
def writing(cluster: Cluster, log: Path) -> Iterator[Writer]:
    """Have a client write while the context is open."""
    urls = [member.client_url for member in cluster.members]
    log.touch()
    process = cluster.network.spawn(
        *(sys.executable, "-m", "tests.machines.writer", str(cluster.client), str(log), *urls),
        log=log.with_suffix(".out"),
    )
    try:
        yield Writer(log)
        if process.poll() is not None:
            raise BootError(f"the writer has ended: {log.with_suffix('.out').read_text()}")
    finally:
        process.kill()
        process.wait()


def check_nothing_lost(cluster: Cluster, writes: Writes) -> None:
    """Every acknowledged write is read from every member, with its value."""
    for member in cluster.members:
        said: subprocess.CompletedProcess[str] = cluster.etcdctl(
            "get", "--prefix", PREFIX, "--consistency=l", members=[member], timeout=60
        )
        words = said.stdout.split()
        found = {
            int(key.removeprefix(PREFIX)): value
            for key, value in zip(words[::2], words[1::2], strict=True)
        }
        lost = [n for n in sorted(writes.acknowledged) if found.get(n) != str(n)]
        if said.returncode or lost:
            raise BootError(f"{member.name} lacks acknowledged writes {lost[:5]}: {said.stderr}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
