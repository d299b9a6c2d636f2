"""imagegen.store.store: nothing lost, nothing half written, nothing silently made anew."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from imagegen.base.problems import ImagegenError, Severity
from imagegen.pki.issue import issue_pki
from imagegen.pki.model import Pki
from imagegen.store.events import Seen
from imagegen.store.record import Record, record_of
from imagegen.store.store import Store, Stored
from tests.conftest import NOW, make_cluster, require_program

TWO = "cluster: c\nmembers: [{name: a, address: 10.0.0.1}, {name: b, address: 10.0.0.2}]\n"
LAB = TWO + "pki: {layout: lab}\n"
ONE = "cluster: c\nmembers: [{name: a, address: 10.0.0.1}]\npki: {layout: lab}\n"


def contents(text: str = TWO) -> tuple[Record, Pki]:
    cluster = make_cluster(text)
    return record_of(cluster), issue_pki(cluster, stored=None, now=NOW).pki


def saved(store: Store, record: Record, pki: Pki) -> bool:
    with store.locked():
        return store.save(record, pki)


def loaded(store: Store) -> Stored:
    stored = store.load()
    assert stored is not None
    return stored


def below(path: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()
    }


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "pki", "c")


# --- what it looks like ---------------------------------------------------------------

SEPARATE_FILES = {
    "cluster.json",
    "client-ca.pem",
    "client-ca-key.pem",
    "peer-ca.pem",
    "peer-ca-key.pem",
    *(
        f"members/{member}/{role}{part}.pem"
        for member in "ab"
        for role in ("server", "peer")
        for part in ("", "-key")
    ),
    "clients/client.pem",
    "clients/client-key.pem",
}
LAB_FILES = {
    "cluster.json",
    "ca.pem",
    "ca-key.pem",
    *(f"members/{member}/member{part}.pem" for member in "ab" for part in ("", "-key")),
    "clients/client.pem",
    "clients/client-key.pem",
}
ONE_FILES = {name for name in LAB_FILES if not name.startswith("members/b/")}


@pytest.mark.parametrize(("text", "names"), [(TWO, SEPARATE_FILES), (LAB, LAB_FILES)])
def test_files_stand_under_plain_names_and_come_back_as_they_went(text, names, store):
    record, pki = contents(text)
    assert store.load() is None
    assert saved(store, record, pki)
    for name in names:
        assert (store.path / name).is_file(), name
    assert set(below(store.path / "current")) == names
    stored = loaded(store)
    assert (stored.record, stored.pki, stored.warnings) == (record, pki, ())
    if text == LAB:
        assert stored.pki.peer_ca is stored.pki.ca
        assert stored.pki.members["a"].server is stored.pki.members["a"].peer
        assert stored.pki.peer_common_name == "c"


def test_named_clients_and_a_ca_without_its_key(store):
    record, pki = contents(TWO + "clients: [{name: kube-apiserver}]\n")
    pki = replace(pki, ca=replace(pki.ca, key_pem=None))
    saved(store, record, pki)
    assert (store.path / "clients/kube-apiserver-key.pem").is_file()
    assert not (store.path / "client-ca-key.pem").exists()
    assert loaded(store).pki == pki


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes_do_not_depend_on_the_umask(umask, store):
    previous = os.umask(umask)
    try:
        saved(store, *contents())
    finally:
        os.umask(previous)
    for path in (store.path.parent, store.path, *store.path.rglob("*")):
        if not path.is_symlink():
            assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_identical_content_writes_nothing(store):
    record, pki = contents()
    assert saved(store, record, pki)
    before = {p: p.lstat().st_mtime_ns for p in store.path.rglob("*")}
    assert not saved(store, record, pki)
    assert {p: p.lstat().st_mtime_ns for p in store.path.rglob("*")} == before


def test_a_change_is_a_generation_and_the_old_one_stays(store):
    record, pki = contents()
    saved(store, record, pki)
    first = below(store.path / "generations/1")
    _, other = contents()
    assert saved(store, record, other)
    assert loaded(store).pki == other
    assert below(store.path / "generations/1") == first
    assert (store.path / "members/a/server-key.pem").read_text() == other.members[
        "a"
    ].server.key_pem
    # Each is complete in itself: none of its files is another one's.
    assert all(p.stat().st_nlink == 1 for p in store.path.rglob("*") if p.is_file())


def test_members_and_clients_that_left_keep_their_credentials(store):
    record, pki = contents(TWO + "clients: [{name: backup}]\n")
    saved(store, record, pki)
    fewer = replace(pki, members={"a": pki.members["a"]}, clients={}, client=None)
    assert not saved(store, record, fewer)
    assert loaded(store).pki == pki


def test_a_file_that_is_no_more_leaves_no_dangling_name(store):
    record, pki = contents()
    saved(store, record, pki)
    saved(store, record, replace(pki, ca=replace(pki.ca, key_pem=None)))
    assert not (store.path / "client-ca-key.pem").is_symlink()
    assert (store.path / "generations/1/client-ca-key.pem").is_file()


@pytest.mark.parametrize("tool", ["cp", "tar"])
def test_a_copy_is_a_backup(tool, store, tmp_path):
    """`cp -a` and `tar` of the directory hold all, under another root too."""
    program = require_program(tool)
    record, pki = contents()
    saved(store, record, pki)
    (tmp_path / "other").mkdir()
    if tool == "cp":
        subprocess.run([program, "-a", store.path, tmp_path / "other"], check=True)
    else:
        archive = tmp_path / "backup.tar"
        subprocess.run([program, "-C", store.path.parent, "-cf", archive, "c"], check=True)
        subprocess.run([program, "-C", tmp_path / "other", "-xf", archive], check=True)
    shutil.rmtree(store.path.parent)
    copy = Store(tmp_path / "other", "c")
    assert loaded(copy).pki == pki
    assert saved(copy, record, contents()[1])


# --- crashes --------------------------------------------------------------------------


def test_what_is_observed_again_and_again_does_not_grow_the_record(store):
    """Only news is appended, and time alone is none; numbers go up in place, and never down."""
    saved(store, *contents())
    path = store.path / "cluster.json"

    def observe(**changes: Any) -> tuple[Any, ...]:
        seen = Seen(at=NOW, cluster_id=1, members=(), raft_term=1, raft_index=5, revision=5)
        with store.locked():
            store.observe(replace(seen, **changes))
        return loaded(store).record.events

    later = NOW + timedelta(minutes=1)
    first = observe()
    written = path.resolve().stat().st_mtime_ns
    assert observe(at=later) == first
    assert observe(at=later, revision=4) == first
    assert path.resolve().stat().st_mtime_ns == written
    [event] = observe(at=later, revision=4, raft_index=6)
    assert (event.at, event.revision, event.raft_index) == (later, 5, 6)
    assert len(observe(cluster_id=2, revision=1, raft_index=1)) == 2


def test_everything_is_on_the_disk_before_it_becomes_current(store, monkeypatch):
    """A power cut after the rename finds whole files: each was fsynced, and its directory too.

    The one test that watches calls: no other way shows an order without a power cut.
    """
    saved(store, *contents())
    events: list[str] = []
    fsync, rename = os.fsync, os.rename

    def watched_fsync(descriptor: int) -> None:
        events.append(os.path.realpath(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def watched_rename(source: Any, target: Any, **options: Any) -> None:
        events.append(f"rename {Path(target).name}")
        rename(source, target, **options)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "rename", watched_rename)
    saved(store, *contents())
    complete, current = events.index("rename 2"), events.index("rename current")
    top = store.path.resolve() / "generations/.unfinished"
    new = store.path / "current"
    wanted = {str(top)} | {str(top / p.relative_to(new)) for p in new.rglob("*")}
    assert set(events[:complete]) >= wanted
    for path in (p.relative_to(new) for p in new.rglob("*")):
        # A directory after what is in it.
        assert events.index(str(top / path)) < events.index(str((top / path).parent))
    assert events[complete + 1] == str(store.path.resolve() / "generations")
    assert complete < current
    assert events[current + 1] == str(store.path.resolve())


@contextmanager
def running(*actions: Callable[[], object]) -> Iterator[list[str]]:
    """Each in a child of its own, all at the same time.

    Afterwards the list has the texts of the ImagegenErrors that they raised.
    """
    children = []
    for action in actions:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                action()
                status = 0
            except ImagegenError as error:
                os.write(writer, str(error).encode())
                status = 0
            finally:
                os._exit(status)  # a child must not go on as pytest
        os.close(writer)
        children.append((child, reader))
    errors: list[str] = []
    yield errors
    for child, reader in children:
        with os.fdopen(reader) as pipe:
            errors += filter(None, [pipe.read()])
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_disk_that_takes_no_more_loses_nothing(store):
    """Here by a limit on file sizes: write() fails as it does on a full disk."""
    record, pki = contents()
    saved(store, record, pki)
    before = below(store.path / "generations/1")

    def full() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        saved(store, record, contents()[1])

    with running(full) as errors:
        pass
    [message] = errors
    assert "cannot use the store: File too large" in message
    assert "PRIVATE" not in message
    assert loaded(store).pki == pki
    assert saved(store, record, contents()[1])
    assert below(store.path / "generations/1") == before


def test_a_place_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "pki").write_text("")
    for root in (tmp_path / "pki", Path("/proc")):
        with pytest.raises(ImagegenError, match="cannot use the store") as caught:
            saved(Store(root, "c"), *contents())
        assert caught.value.problems[0].hint


# --- two at once ----------------------------------------------------------------------


def test_the_second_waits_for_the_first(store):
    """Two builds at once: both end well, and one after the other."""
    record, pki = contents()

    def slow() -> None:
        with store.locked():
            (store.path / "held").touch()
            time.sleep(0.5)
            assert store.load() is None
            store.save(record, pki)
            (store.path / "held").unlink()

    with running(slow) as errors:
        while not (store.path / "held").exists():
            time.sleep(0.01)
        with store.locked():
            assert not (store.path / "held").exists()
            assert loaded(store).pki == pki
    assert errors == []


def test_many_first_builds_make_one_ca(store):
    """Whoever comes first makes it; all others find and use it."""
    cluster = make_cluster(TWO)

    def build() -> None:
        with store.locked():
            stored = store.load()
            issued = issue_pki(cluster, stored=stored.pki if stored else None, now=NOW)
            assert issued.changed == (stored is None)
            store.save(record_of(cluster), issued.pki)

    with running(*[build] * 6) as errors:
        pass
    assert errors == []
    assert [p.name for p in (store.path / "generations").iterdir()] == ["1"]


def test_waiting_has_an_end(store):
    with (
        store.locked(),
        pytest.raises(ImagegenError, match="another imagegen is working"),
        Store(store.path.parent, "c").locked(wait=0.1),
    ):
        pass
    assert saved(store, *contents())


def test_a_lock_ends_with_its_holder(store):
    """kill -9 leaves no lock behind."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with store.locked():
            os.write(writer, b"held")
            time.sleep(60)
        os._exit(0)
    assert os.read(reader, 4) == b"held"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with store.locked(wait=0):
        assert store.load() is None


def test_what_was_secret_for_the_length_of_a_question_is_swept(store):
    """A probe's key is nowhere but in the store, and not for longer than until the next run."""
    saved(store, *contents())
    before = below(store.path)
    with store.locked(), store.scratch() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "key.pem").write_text("secret")
        killed = shutil.copytree(store.path, store.path.parent / "killed", symlinks=True)
    assert below(store.path) == before
    other = Store(killed.parent, "killed")
    with other.locked():
        assert below(killed) == before
    with pytest.raises(RuntimeError), store.scratch():
        pass


def test_opening_what_was_never_saved_makes_nothing(store):
    """It says so, and what to do; the lock's directory would look like a store."""
    for attempt in (store.existing, store.opened().__enter__):
        with pytest.raises(ImagegenError, match="nothing was ever saved here") as caught:
            attempt()
        assert "--pki" in caught.value.problems[0].hint
    assert not store.path.parent.exists()


def test_opening_holds_the_lock_and_sees_what_was_saved_meanwhile(store):
    record, pki = contents()
    saved(store, record, pki)
    with store.opened() as stored:
        assert stored.pki == pki
        with (
            pytest.raises(ImagegenError, match="another imagegen is working"),
            Store(store.path.parent, "c").locked(wait=0),
        ):
            pass
        assert store.save(record, contents()[1])


def test_saving_without_the_lock_is_a_bug(store):
    with pytest.raises(RuntimeError):
        store.save(*contents())


# --- damage ---------------------------------------------------------------------------


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return edit


BAD_RECORDS: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "empty": lambda path: path.write_text(""),
    "cut": lambda path: path.write_text(path.read_text()[:200]),
    "binary": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "list": lambda path: path.write_text("[]"),
    "deep": lambda path: path.write_text("[" * 100_000),
    "newer": edited(lambda d: d.update(format=2)),
    "no format": edited(lambda d: d.pop("format")),
    "no token": edited(lambda d: d.pop("token")),
    "null token": edited(lambda d: d.update(token=None)),
    "bad id": edited(lambda d: d.update(cluster_id="xyz")),
    "id as number": edited(lambda d: d.update(cluster_id=17)),
    "bad date": edited(lambda d: d.update(created="yesterday")),
    "bad member": edited(lambda d: d["members"][0].pop("peer_url")),
    "member as text": edited(lambda d: d.update(members=["a"])),
    "surplus": edited(lambda d: d.update(colour="blue")),
    "another's": edited(lambda d: d.update(cluster="other")),
}


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_a_record_that_cannot_be_read_is_never_made_anew(case, store):
    record, pki = contents()
    saved(store, record, pki)
    BAD_RECORDS[case](store.path / "current/cluster.json")
    before = below(store.path)
    for attempt in (store.load, lambda: saved(store, *contents())):
        with pytest.raises(ImagegenError) as caught:
            attempt()
        problem = caught.value.problems[0]
        assert "cluster.json" in problem.where
        assert problem.hint
    assert below(store.path) == before


@pytest.mark.parametrize(
    "name", ["client-ca.pem", "peer-ca.pem", "members/a/peer.pem", "members/b/server-key.pem"]
)
def test_a_missing_file_is_an_error_and_no_reason_to_make_another(name, store):
    saved(store, *contents())
    (store.path / name).resolve().unlink()
    with pytest.raises(ImagegenError, match="is missing") as caught:
        store.load()
    assert caught.value.problems[0].where.endswith(name)


def test_a_lost_current_is_not_an_empty_store(store):
    """Some copying tools drop links; the keys are still there."""
    record, pki = contents()
    saved(store, record, pki)
    (store.path / "current").unlink()
    for attempt in (store.load, lambda: saved(store, *contents())):
        with pytest.raises(ImagegenError, match="current does not lead"):
            attempt()
    (store.path / "current").symlink_to("generations/1")
    assert loaded(store).pki == pki


def test_going_back_a_generation_by_hand(store):
    """Point `current` at an older one; the next change is a new one, not a second 2."""
    record, pki = contents()
    saved(store, record, pki)
    saved(store, record, contents()[1])
    second = below(store.path / "generations/2")
    (store.path / "current").unlink()
    (store.path / "current").symlink_to("generations/1")
    assert loaded(store).pki == pki
    third = contents()[1]
    saved(store, record, third)
    assert loaded(store).pki == third
    assert below(store.path / "generations/2") == second
    shutil.rmtree(store.path / "generations/1")
    saved(store, record, contents()[1])
    assert (store.path / "current").readlink() == Path("generations/4")


def test_a_file_in_the_place_of_a_link_is_not_overwritten(store):
    """A copy that followed links has files where links were; saving would hide them."""
    record, pki = contents()
    saved(store, record, pki)
    (store.path / "client-ca.pem").unlink()
    (store.path / "client-ca.pem").write_text("somebody's")
    with pytest.raises(ImagegenError, match="is in the way"):
        saved(store, record, contents()[1])
    assert (store.path / "client-ca.pem").read_text() == "somebody's"
    assert loaded(store).pki == pki


def test_keys_open_to_others_are_warned_about(store):
    saved(store, *contents())
    (store.path / "members/a/server-key.pem").chmod(0o640)
    (store.path / "current/members").chmod(0o755)
    (store.path / "members/a/server.pem").chmod(0o644)
    [warning] = loaded(store).warnings
    assert warning.severity is Severity.WARNING
    assert "can be read by other users and 1 more" in warning.what
    subprocess.run(warning.hint.split(), check=True)
    assert loaded(store).warnings == ()


def test_no_key_is_shown(store):
    record, pki = contents()
    saved(store, record, pki)
    stored = loaded(store)
    assert "PRIVATE" not in repr(stored) + str(stored)
