"""imagegen member, with clusters of real etcd formed from what `imagegen build` wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import yaml

from imagegen.store.record import Record
from tests.conftest import ROOT

from .lab import PATH, Lab, Member, eventually, formed
from .versions import spec_for

pytestmark = pytest.mark.etcd


def cluster_of(names: str, etcd: str, folder: Path) -> AbstractContextManager[Lab]:
    """A formed cluster of members a, b, c, ...; its spec is cluster.yaml."""
    return formed(spec_of(names), etcd, folder)


def spec_of(names: str) -> str:
    members = [{"name": n, "address": f"192.0.2.{ord(n) - 86}"} for n in names]
    return yaml.safe_dump({"cluster": "life", "members": members})


def write_spec(folder: Path, names: str, etcd: str) -> None:
    (folder / "cluster.yaml").write_text(spec_for(etcd, spec_of(names)))


def member(lab: Lab, name: str) -> Member:
    return next(member for member in lab.members if member.name == name)


def command(lab: Lab, *arguments: str, refused: bool = False) -> str:
    """What a command prints; it fails only where that is expected."""
    done = lab.imagegen("member", *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    if done.returncode != int(refused):
        logs = (f"{each.name}: ... {each.log[-3000:]}" for each in lab.members if each.started)
        raise AssertionError("\n".join((done.stdout + done.stderr, *logs)))
    return done.stderr if refused else done.stdout


def listed(lab: Lab) -> dict[str, int]:
    """Who belongs to the cluster, by name, and with what ID."""
    urls = ",".join(member.client_url for member in lab.members if member.running)
    found = json.loads(lab.etcdctl("member", "list", "-w", "json", ENDPOINTS=urls))
    return {entry.get("name", ""): entry["ID"] for entry in found["members"]}


def record(folder: Path) -> Record:
    return Record.from_json((folder / "pki/life/cluster.json").read_text())


def documents(folder: Path) -> dict[str, bytes]:
    """Every member's documents, by path."""
    base = folder / "out/life/members"
    return {str(path.relative_to(base)): path.read_bytes() for path in base.glob("*/*")}


WRITER = """
import base64, json, sys, time
from pathlib import Path
from imagegen.live.client import Caller
from imagegen.base.problems import ImagegenError
base, acknowledged, *urls = sys.argv[1:]
files = (Path(base, name) for name in ("ca.pem", "client.pem", "client-key.pem"))
caller = Caller(*files, timeout=2)
number = 0
with open(acknowledged, "w") as file:
    while True:
        key = base64.b64encode(b"%06d" % number).decode()
        try:
            caller.call(urls[number % len(urls)], "/v3/kv/put", {"key": key, "value": key})
            print("%06d" % number, file=file, flush=True)
        except ImagegenError:
            pass
        number += 1
        time.sleep(0.02)
"""


@contextmanager
def writing(lab: Lab, file: Path) -> Iterator[None]:
    """Meanwhile a client writes steadily; the file has what was acknowledged."""
    urls = [member.client_url for member in lab.members]
    process = subprocess.Popen(
        lab.operator.inside(sys.executable, "-c", WRITER, str(lab.client), str(file), *urls),
        env={"PATH": PATH, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: file.exists() and file.stat().st_size > 70, "the client writes")
        yield
    finally:
        assert process.poll() is None
        process.kill()
        process.wait()


def assert_kept(lab: Lab, file: Path, of: Member) -> None:
    """The member has, of its own, every write that was acknowledged."""
    acknowledged = set(file.read_text().split())
    assert len(acknowledged) > 50

    def has_all() -> bool:
        found = lab.etcdctl(
            "get", "", "--prefix", "--keys-only", "--consistency=s", ENDPOINTS=of.client_url
        )
        return acknowledged <= set(found.split())

    eventually(has_all, f"{len(acknowledged)} acknowledged writes on {of.name}", seconds=20)


def test_a_lost_member_is_replaced_under_load(etcd, tmp_path):
    """No acknowledged write is lost; the others' documents stay, and build makes the same again."""
    acknowledged = tmp_path / "acknowledged"
    with cluster_of("abc", etcd, tmp_path) as lab:
        before, ids = documents(tmp_path), listed(lab)
        with writing(lab, acknowledged):
            member(lab, "c").kill()
            plan = command(lab, "replace", "cluster.yaml", "c", "--dry-run")
            assert f"remove member {ids['c']:x}: it is lost: " in plan
            assert documents(tmp_path) == before
            assert listed(lab) == ids

            said = command(lab, "replace", "cluster.yaml", "c")
            assert "Next:" in said
            new = lab.new_machine("c")
            assert new.settings["ETCD_INITIAL_CLUSTER_STATE"] == "existing"
            new.boot()
            assert "it has a vote" in command(lab, "replace", "cluster.yaml", "c", "--wait", "1m")
        lab.wait_until_healthy()
        assert_kept(lab, acknowledged, new)

        after = documents(tmp_path)
        changed = {path for path in before if after[path] != before[path]}
        assert changed == {"c/user-data", "c/meta-data", "c/seed.iso"} & after.keys()
        assert listed(lab) == {**ids, "c": new.member_id}
        assert record(tmp_path).joined["c"].promoted
        again = lab.imagegen("build", "cluster.yaml")
        assert again.returncode == 0, again.stderr
        assert "0 changed" in again.stdout or "up to date" in again.stdout
        assert "nothing to do" in command(lab, "replace", "cluster.yaml", "c")

        assert lab.imagegen("check", "out/life").returncode == 0

        # Its data is lost once more: under its new ID it must not come back either.
        new.kill()
        wiped = lab.new_machine("c")
        check = wiped.start_check()
        assert check.wait(60) == 1
        assert wiped.result["state"] == "refused"
        assert "member replace c" in wiped.result["hint"]


#: Ends the command, as SIGKILL does, before the Nth of these is called, or after it was.
KILLED = """
import os, signal, sys
from imagegen.build import build
from imagegen.live import client
from imagegen.store import store
from imagegen.cli.entry import main
moment, name, *arguments = sys.argv[1:]
owner = build if name == "write_artifacts" else store.Store if name == "observe" else client.Caller
whole = getattr(owner, name)
def cut(*args, **kwargs):
    if moment == "after":
        whole(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, name, cut)
sys.argv = ["imagegen", "member", *arguments]
main()
"""


def killed(lab: Lab, moment: str, call: str, *arguments: str) -> None:
    done = lab.imagegen(moment, call, *arguments, script=KILLED)
    assert done.returncode == -9, done.stdout + done.stderr


def test_killed_between_every_two_steps(etcd, tmp_path):
    """Run again it goes on, with the learner it has added and no other."""
    replace = ("replace", "cluster.yaml", "c")
    with cluster_of("abc", etcd, tmp_path) as lab:
        member(lab, "c").kill()
        lab.members.remove(member(lab, "c"))
        old = listed(lab)
        killed(lab, "before", "remove", *replace)
        assert listed(lab) == old
        killed(lab, "after", "remove", *replace)
        assert listed(lab).keys() == {"a", "b"}
        killed(lab, "before", "add_learner", *replace)
        killed(lab, "after", "add_learner", *replace)
        learner = listed(lab)[""]
        killed(lab, "before", "observe", *replace)
        assert "c" not in record(tmp_path).joined
        killed(lab, "after", "observe", *replace)
        assert record(tmp_path).joined["c"].member_id == learner
        killed(lab, "before", "write_artifacts", *replace)
        killed(lab, "after", "write_artifacts", *replace)
        new = lab.new_machine("c")
        assert new.member_id == learner
        new.boot()
        eventually(lambda: listed(lab).get("c") == learner, "c has started")
        killed(lab, "before", "promote", *replace)
        killed(lab, "after", "promote", *replace, "--wait", "1m")
        assert not record(tmp_path).joined["c"].promoted
        assert "nothing to do" in command(lab, *replace)
        assert record(tmp_path).joined["c"].promoted
        assert listed(lab) == {**old, "c": learner}
        lab.wait_until_healthy()


def test_a_learner_that_went_away_gets_no_vote(etcd, tmp_path):
    """etcd would give it one; a learner whose disk is lost too is replaced by its ID."""
    replace = ("replace", "cluster.yaml", "c")
    with cluster_of("abc", etcd, tmp_path) as lab:
        member(lab, "c").kill()
        lab.members.remove(member(lab, "c"))
        command(lab, *replace)
        new = lab.new_machine("c")
        new.boot()
        eventually(lambda: "c" in listed(lab), "c has started")
        new.kill()
        said = command(lab, *replace)
        assert "c does not answer: Connection refused; if its disk is lost as well: " in said
        command(lab, *replace, "--id", f"{new.member_id:x}")
        again = lab.new_machine("c")
        assert again.member_id != new.member_id
        again.boot()
        # The same command again does not throw the new one away.
        command(lab, *replace, "--id", f"{new.member_id:x}", "--wait", "1m")
        assert listed(lab)["c"] == again.member_id
        lab.wait_until_healthy()


def test_what_is_refused(etcd, tmp_path):
    """A member that answers, a quorum at stake, a stranger on the way in: nothing is changed."""
    with cluster_of("abc", etcd, tmp_path) as lab:
        ids = listed(lab)
        said = command(lab, "replace", "cluster.yaml", "c", refused=True)
        assert "answers, so it is not lost" in said
        assert f"--id {ids['c']:x}" in said
        assert (
            "is not in the recorded" in command(lab, "remove", "cluster.yaml", "d", refused=True)
            or "is no member"
        )
        assert "imagegen member replace" in command(lab, "add", "cluster.yaml", "c", refused=True)

        foreign = ("member", "add", "x", "--learner", "--peer-urls=https://192.0.2.99:2380")
        eventually(lambda: lab.try_etcdctl(*foreign).returncode == 0, "the cluster takes changes")
        member(lab, "c").kill()
        said = command(lab, "replace", "cluster.yaml", "c", refused=True)
        assert "another change is under way" in said
        [stranger] = set(listed(lab).values()) - set(ids.values())
        lab.etcdctl("member", "remove", f"{stranger:x}")
        assert listed(lab) == ids

        member(lab, "b").kill()
        said = command(lab, "replace", "cluster.yaml", "c", refused=True)
        assert "no member has a quorum" in said
        assert record(tmp_path).observed == ()


def test_of_five_one_more_may_be_down_but_not_two(etcd, tmp_path):
    """What decides is who would be left: three of four, not two of four."""
    with cluster_of("abcde", etcd, tmp_path) as lab:
        member(lab, "d").kill()
        said = command(lab, "remove", "cluster.yaml", "e", "--dry-run")
        assert "of the 4 others 3 must, spare: 0" in said
        # e is one of the three that run: with it gone two are left of four... it stays.
        member(lab, "c").kill()
        said = command(lab, "remove", "cluster.yaml", "e", refused=True)
        assert "without it the cluster needs 3 of 4 members, and only 2 run" in said
        assert "removing it would cost the quorum" in said
        # The lost one may go: three of four are left.
        assert "remove member" in command(lab, "replace", "cluster.yaml", "d", "--dry-run")


def test_grow_and_shrink(etcd, tmp_path):
    """A fourth comes in, the leader goes out; the others' documents stay as they were."""
    with cluster_of("abc", etcd, tmp_path) as lab:
        before, ids = documents(tmp_path), listed(lab)
        write_spec(tmp_path, "abcde", etcd)
        assert "is not in the recorded cluster" in command(
            lab, "add", "cluster.yaml", "d", refused=True
        )
        write_spec(tmp_path, "abcd", etcd)
        refused = lab.imagegen("build", "cluster.yaml")
        assert refused.returncode == 1
        assert "imagegen member add" in refused.stderr

        command(lab, "add", "cluster.yaml", "d")
        new = lab.new_machine("d")
        new.boot()
        command(lab, "add", "cluster.yaml", "d", "--wait", "1m")
        lab.wait_until_healthy()
        assert listed(lab) == {**ids, "d": new.member_id}
        after = documents(tmp_path)
        assert {path: after[path] for path in before} == before
        assert lab.imagegen("build", "cluster.yaml").returncode == 0
        assert "nothing to do" in command(lab, "add", "cluster.yaml", "d")

        [status, *_] = json.loads(lab.etcdctl("endpoint", "status", "-w", "json"))
        leader = next(
            name for name, number in listed(lab).items() if number == status["Status"]["leader"]
        )
        assert "lead: the leader is to go" in command(
            lab, "remove", "cluster.yaml", leader, "--dry-run"
        )
        killed(lab, "before", "observe", "remove", "cluster.yaml", leader)
        assert leader in record(tmp_path).present
        command(lab, "remove", "cluster.yaml", leader)
        left = {
            name: number for name, number in {**ids, "d": new.member_id}.items() if name != leader
        }
        lab.members.remove(member(lab, leader))
        assert listed(lab) == left
        assert record(tmp_path).present.keys() == left.keys()
        write_spec(tmp_path, "".join(left), etcd)
        built = lab.imagegen("build", "cluster.yaml", "--force")
        assert built.returncode == 0, built.stderr
        assert "no member of the recorded" in command(
            lab, "remove", "cluster.yaml", leader, refused=True
        )
