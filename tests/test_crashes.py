"""kill -9, a full disk, a directory that cannot be written: nothing is lost, and a rerun completes.

A child is killed by strace as it enters a system call that would change the file
system. What is then on the disk is what a reader or the next run would find.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from imagegen.base.problems import ImagegenError
from imagegen.build.build import build_cluster
from imagegen.build.load import LoadedSpec, load_spec
from imagegen.build.options import Options
from imagegen.day2 import renew as renewal
from imagegen.day2 import revoke as revocation
from imagegen.day2.rotate_ca import rotate_ca
from imagegen.judge.path import check_path
from imagegen.pki.faults import check_authority, check_credential
from imagegen.pki.leaves import Leaf, Role
from imagegen.pki.model import Pki
from imagegen.pki.pem import certificates_in, private_key_in
from imagegen.store.events import Seen
from imagegen.store.store import Store, Stored
from tests.conftest import NOW, ROOT, require_program

SPEC = """\
cluster: c
members: [{name: a, address: 10.0.0.1}]
clients: [{name: backup}]
pki: {layout: lab}
"""
CHANGED = SPEC.replace("10.0.0.1}", "10.0.0.1, dns_names: [a.example.org]}")

#: The exit status of a child that was stopped by a problem it could explain.
EXPLAINED = 3

#: System calls that may change a file system, under the names of every architecture.
CHANGING = (
    "open|openat|creat|mkdir|mkdirat|rename|renameat|renameat2|unlink|unlinkat|rmdir|symlink"
    "|symlinkat|link|linkat|chmod|fchmod|fchmodat|truncate|ftruncate|write|pwrite64|writev"
)
_CALL = re.compile(rf"^\d+ +({CHANGING})\((.*)\) += (-?\d+)", re.MULTILINE)


# --- what is done, and what must hold ---------------------------------------------------


class Place:
    """A directory with a spec, a store and artifacts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.spec = directory / "c.yaml"
        self.store = Store(directory / "pki", "c")
        self.options = Options(
            now=NOW, output=directory / "out", pki=directory / "pki", targets=("nocloud-iso",)
        )

    def build(self, **options: bool) -> None:
        build_cluster(load_spec(self.spec, now=NOW), replace(self.options, **options))

    @property
    def stored(self) -> Stored | None:
        return self.store.load()

    def keys(self) -> set[str]:
        """Every private key that any generation has, also one that is not finished."""
        return {path.read_text() for path in self.store.path.rglob("*-key.pem") if path.is_file()}

    def files(self) -> dict[str, bytes]:
        paths = [path for path in self.options.output.rglob("*") if path.is_file()]
        return {str(p.relative_to(self.options.output)): p.read_bytes() for p in paths}


@dataclass(frozen=True)
class Operation:
    """What is interrupted: a change of the cluster of ``SPEC``, or its first build."""

    run: Callable[[Place], object]
    first: bool = False
    spec: str = SPEC
    #: What has been done before, beside the first build.
    prepare: Callable[[Place], object] = id
    #: Whether it makes no private key but the first build's.
    keeps_keys: bool = True


def _loaded(place: Place) -> LoadedSpec:
    return load_spec(place.spec, now=NOW)


def _renew(place: Place, **request: bool) -> None:
    renewal.renew(_loaded(place), place.options, renewal.Request(**request))


def _rotate(place: Place, *steps: int) -> None:
    """Begin a rotation or go on to each of the steps, 4 being its end; again if it is there."""
    for step in steps:
        stored = place.stored
        assert stored is not None
        rotation = stored.pki.rotation
        if step < 4 or rotation is not None:
            go_on = rotation is not None and rotation.step < step
            rotate_ca(_loaded(place), place.options, None, go_on=go_on, offline=True)


def _seen(revision: int) -> Seen:
    return Seen(
        at=NOW, cluster_id=1, members=(), raft_term=1, raft_index=revision, revision=revision
    )


def _observe(place: Place, revision: int) -> None:
    with place.store.locked():
        place.store.observe(_seen(revision))


OPERATIONS = {
    "build": Operation(Place.build, first=True),
    "build --reissue": Operation(lambda p: p.build(reissue=True, force=True), spec=CHANGED),
    "build --new-cluster": Operation(lambda place: place.build(new_cluster=True, force=True)),
    "certs renew": Operation(_renew),
    "certs renew --new-keys": Operation(lambda p: _renew(p, new_keys=True), keeps_keys=False),
    "certs revoke": Operation(lambda p: revocation.revoke(_loaded(p), p.options, ["backup"])),
    "certs rotate-ca": Operation(lambda place: _rotate(place, 1), keeps_keys=False),
    **{
        f"certs rotate-ca --next, from step {step}": Operation(
            lambda place, step=step: _rotate(place, step + 1),
            prepare=lambda place, step=step: _rotate(place, *range(1, step + 1)),
            keeps_keys=False,
        )
        for step in (1, 2, 3)
    },
    "what the cluster reported": Operation(lambda place: _observe(place, 7)),
    "a counter raised": Operation(lambda p: [_observe(p, 7), _observe(p, 9)]),
}


def assert_whole(stored: Stored) -> None:
    """Every key belongs to its certificate, and every certificate to its CA."""
    pki = stored.pki
    for authority in {pki.ca, pki.peer_ca}:
        key = private_key_in(authority.key_pem or "")
        certificates = certificates_in(authority.certificate_pem)
        assert not check_authority(certificates[:1], key=key, now=NOW)
    leaves = [(name, Role.MEMBER, member.server) for name, member in pki.members.items()]
    leaves += [(name, Role.CLIENT, credential) for name, credential in pki.clients.items()]
    for owner, role, credential in leaves:
        leaf = Leaf(owner=owner, role=role, common_name="", days=0)
        assert not check_credential(credential, leaf, ca_pem=pki.ca.certificate_pem, now=NOW)


def assert_private(place: Place) -> None:
    """Whatever a killed run left lying about, nobody else can read it."""
    made = [*place.directory.glob("pki/*"), *place.directory.glob("out/*")]
    for root in made:
        for path in (root, *root.rglob("*")):
            if not path.is_symlink():
                assert not path.stat().st_mode & 0o077, path


def assert_tidy(place: Place) -> None:
    """Nothing half-written is left."""
    kept = {".lock"}
    names = {path.name for path in place.directory.rglob(".*")} - kept
    assert not names


def assert_old_or_new(before: Stored | None, after: Stored | None, operation: Operation) -> bool:
    """Whether the store holds the new state, which must be whole, or exactly the old one."""
    if after is None or after == before:
        assert after == before
        return False
    assert_whole(after)
    if operation.keeps_keys and before is not None:
        assert _keys(after.pki) == _keys(before.pki)
    return True


def _keys(pki: Pki) -> list[str | None]:
    credentials = [*(m.server for m in pki.members.values()), *pki.clients.values()]
    return [pki.ca.key_pem, pki.peer_ca.key_pem, *(item.key_pem for item in credentials)]


# --- killing --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in memory if there is one: a killed process loses nothing of a file system."""
    shm = Path("/dev/shm")
    with TemporaryDirectory(dir=shm if shm.is_dir() else tmp_path_factory.mktemp("m")) as name:
        yield Path(name)


def traced(action: Callable[[], object], log: Path, *options: str) -> int:
    """Run in a child with strace attached, and return its wait status.

    A child, because this process has everything imported; a new one would take
    half a second for each of hundreds of kills.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(writer)
            # Where Yama is set, only a parent may trace unless the child lets others.
            ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1))
            os.read(reader, 1)
            action()
            status = 0
        except ImagegenError as error:
            status = EXPLAINED if all(problem.hint for problem in error.problems) else 1
        finally:
            os._exit(status)
    os.close(reader)
    command = [require_program("strace"), "-f", "-p", str(child), "-o", str(log)]
    command += ["-e", f"trace=/^({CHANGING})$", *options]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    said = tracer.stderr.readline()
    os.close(writer)  # the child goes on
    _, status = os.waitpid(child, 0)
    tracer.communicate(timeout=60)
    assert "attached" in said, said
    return status


def changing_calls(log: str) -> list[tuple[str, int]]:
    """Name and number, among the calls of its name, of each call that changed something."""
    counts: dict[str, int] = {}
    found = []
    for name, arguments, result in _CALL.findall(log):
        counts[name] = counts.get(name, 0) + 1
        reads = name in ("open", "openat") and "O_CREAT" not in arguments
        if int(result) >= 0 and not reads:
            found.append((name, counts[name]))
    return found


class Killing:
    """An operation, the place it begins at, and all the moments at which it can be killed."""

    def __init__(self, name: str, directory: Path) -> None:
        self.operation = OPERATIONS[name]
        self.directory = directory
        self.template = Place(directory / "template")
        self.template.directory.mkdir()
        self.template.spec.write_text(SPEC)
        if not self.operation.first:
            self.template.build()
            with self.template.store.locked():
                self.template.store.observe(_seen(1))
            self.operation.prepare(self.template)
        self.operation.run(self.copy("warm"))  # imports, and what is made once
        rehearsal = self.copy("rehearsal")
        log = directory / "log"
        assert traced(lambda: self.operation.run(rehearsal), log) == 0
        self.moments = changing_calls(log.read_text())
        assert len(self.moments) >= 3

    def copy(self, name: str) -> Place:
        shutil.copytree(self.template.directory, self.directory / name, symlinks=True)
        place = Place(self.directory / name)
        place.spec.write_text(self.operation.spec)
        return place

    def at(self, moment: tuple[str, int], fault: str = "signal=KILL") -> bool:
        """Have ``fault`` happen there; whether the store is new then. A rerun completes."""
        call, number = moment
        before, built = self.template.stored, self.template.files()
        place = self.copy("killed")
        inject = f"inject={call}:{fault}:when={number}" + ("+" if "error" in fault else "")
        status = traced(lambda: self.operation.run(place), self.directory / "log", "-e", inject)
        if "signal" in fault:
            assert os.WIFSIGNALED(status), moment
            assert os.WTERMSIG(status) == signal.SIGKILL, moment
        else:
            # 0 where it could do without, as when it removes what it needs no more.
            assert os.waitstatus_to_exitcode(status) in (0, EXPLAINED), moment

        killed = place.stored
        is_new = assert_old_or_new(before, killed, self.operation)
        assert_private(place)
        keys, left = self.template.keys(), place.files()
        assert place.keys() >= keys
        if self.operation.first:
            # A new cluster's artifacts come at once or not at all.
            assert not (place.options.output / "c").exists() or not check_path(
                place.options.output / "c", now=NOW
            )

        self.operation.run(place)
        again = place.stored
        assert again is not None
        assert_whole(again)
        assert_tidy(place)
        assert place.keys() >= keys
        if killed and self.operation.keeps_keys:
            assert _keys(again.pki) == _keys(killed.pki)
        assert check_path(place.options.output, now=NOW) == []
        if is_new and self.operation.run is OPERATIONS["build --reissue"].run:
            # Each file was replaced whole.
            final = place.files()
            for name, data in left.items():
                assert ".partial" in name or data in (built.get(name), final.get(name)), name
        shutil.rmtree(place.directory)
        return is_new


def assert_holds(killing: Killing, moments: list[tuple[str, int]], fault: str) -> None:
    outcomes = [killing.at(moment, fault) for moment in moments]
    # Once it is new it stays so.
    assert outcomes == sorted(outcomes)


@pytest.fixture
def killing(request: pytest.FixtureRequest, memory: Path) -> Iterator[Killing]:
    require_program("strace")
    with TemporaryDirectory(dir=memory) as directory:
        yield Killing(request.param, Path(directory))


FAULTS = {
    "killed": "signal=KILL",
    "disk full": "error=ENOSPC",
    "read-only": "error=EROFS",
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("killing", OPERATIONS, indirect=True)
def test_interrupted_now_and_then(killing: Killing, fault: str) -> None:
    """At some of the calls, the last rename of the store among them."""
    spread = killing.moments[len(fault) :: 19 if fault == "killed" else 37]
    renames = [m for m in killing.moments if m[0].startswith("rename")][:2]
    chosen = [m for m in killing.moments if m in spread or (fault == "killed" and m in renames)]
    assert_holds(killing, chosen, FAULTS[fault])


@pytest.mark.crashes
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("killing", OPERATIONS, indirect=True)
def test_interrupted_at_every_call(killing: Killing, fault: str) -> None:
    """Whatever system call it was about to make: the old store or the new one, never a mixture."""
    print(f"{len(killing.moments)} moments")
    assert_holds(killing, killing.moments, FAULTS[fault])


# --- a disk that is full, or read-only, as the kernel has it ------------------------------

FULL = """
import subprocess, sys
from pathlib import Path
from imagegen.base.problems import ImagegenError
from tests.test_crashes import CHANGED, SPEC, Place, assert_tidy, assert_whole, check_path
from tests.conftest import NOW

def mount(options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", directory], check=True)

directory = Path(sys.argv[1])
said = set()
size = 16
while True:
    mount(f"size={size}k")
    place = Place(directory)
    try:
        place.spec.write_text(SPEC)
        place.build()
    except ImagegenError as error:
        said.add(error.problems[0].what)
        before = place.stored
        mount("remount,size=8m")
        place.build()
        assert before is None or place.stored == before
    else:
        break
    finally:
        assert check_path(directory / "out", now=NOW) == []
        subprocess.run(["umount", directory], check=True)
    size = size * 5 // 4
assert said == {"cannot use the store: No space left on device",
                "cannot write: No space left on device"}, said

mount("size=8m")
place.spec.write_text(SPEC)
place.build()
before, files = place.stored, place.files()
place.spec.write_text(CHANGED)
mount("remount,ro")
try:
    place.build(reissue=True, force=True)
except ImagegenError as error:
    assert error.problems[0].what == "cannot use the store: Read-only file system", error
    assert error.problems[0].hint
else:
    raise AssertionError
assert place.stored == before and place.files() == files
mount("remount,rw")
place.build(reissue=True, force=True)
assert place.stored != before
assert_whole(place.stored)
assert_tidy(place)
print("held")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounting a small file system")
def test_a_full_or_read_only_file_system_loses_nothing(tmp_path: Path) -> None:
    """A tmpfs of a few pages, each time with room for a little more of the build."""
    require_program("mount")
    command = [require_program("unshare"), "-m", sys.executable, "-c", FULL, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.stdout == "held\n", run.stderr


# --- two at once ------------------------------------------------------------------------


def test_two_builds_at_once_make_one_cluster(tmp_path: Path) -> None:
    """One waits for the other: a CA, a set of artifacts, and both say that all is well."""
    place = Place(tmp_path)
    place.spec.write_text(SPEC)
    command = [sys.executable, "-m", "imagegen", "build", place.spec.name, "--now", NOW.isoformat()]
    builds = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for build in builds:
        said = build.communicate(timeout=120)[1]
        assert build.returncode == 0, said
    assert [path.name for path in (tmp_path / "pki/c/generations").iterdir()] == ["1"]
    assert check_path(tmp_path / "out", now=NOW) == []


def test_members_built_at_once_are_both_in_the_manifest(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.spec.write_text(SPEC.replace("}]", "}, {name: b, address: 10.0.0.2}]", 1))
    loaded = _loaded(place)
    place.options.output.mkdir()
    children = []
    for name in "ab":
        if (child := os.fork()) == 0:
            build_cluster(loaded, replace(place.options, members=(name,), force=True))
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    assert check_path(place.options.output, now=NOW) == []
    assert len(list((tmp_path / "out/c/members").iterdir())) == 2
