"""Deciding what is to be done about a cluster's members; real clusters are in tests/real_etcd."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imagegen.base.problems import ImagegenError, ProblemsError
from imagegen.cluster.cluster import Cluster, RecordedMember, instance_id
from imagegen.day2.member.changes import (
    Act,
    Step,
    Subject,
    initial_members,
    plan_add,
    plan_remove,
    plan_replace,
    version_problems,
)
from imagegen.day2.member.view import View
from imagegen.live.client import ListedMember, Status
from imagegen.spec.read import parse_spec
from imagegen.store.events import Event, MemberAdded, MemberPromoted, MemberRemoved, event_json
from imagegen.store.identity import identity_for
from imagegen.store.record import Record, record_of
from tests.conftest import NOW, make_cluster

SPEC = """
cluster: life
members:
  - {name: a, address: 192.0.2.11}
  - {name: b, address: 192.0.2.12}
  - {name: c, address: 192.0.2.13}
"""
IDS = {"a": 0xA, "b": 0xB, "c": 0xC, "d": 0xD, "e": 0xE}
NEW = 0xF00


def url(name: str, port: int = 2379) -> str:
    return f"https://192.0.2.{ord(name) - 86}:{port}"


def entry(name: str, *, number: int = 0, learner: bool = False, started: bool = True):
    return ListedMember(
        member_id=number or IDS[name],
        name=name if started else "",
        peer_urls=(url(name, 2380),),
        client_urls=(url(name),) if started else (),
        is_learner=learner,
    )


def view_of(*members: ListedMember, down: str = "", version: str = "3.5.16") -> View:
    """What the members that are not down answer; the first of them leads."""
    up = [m for m in members if m.client_urls and m.name not in down]
    voters = [m.member_id for m in up if not m.is_learner]

    def status(member: ListedMember) -> Status:
        return Status(
            cluster_id=1, member_id=member.member_id, version=version, leader=voters[0],
            raft_term=2, raft_index=member.member_id, revision=1, db_size=1, db_size_in_use=1,
            is_learner=member.is_learner, errors=(), clock=None, certificate=b"",
        )  # fmt: skip

    return View(
        cluster_id=1,
        members=members,
        statuses={m.member_id: status(m) for m in up},
        urls={m.member_id: m.client_urls[0] for m in up},
        healthy=frozenset(voters),
        troubles={url(name): "Connection refused" for name in down},
    )


def subject(name: str, *, known: int | None = None, joined: bool = False) -> Subject:
    return Subject(
        name=name, peer_url=url(name, 2380), known_id=known or IDS.get(name), joined=joined
    )


def three() -> list[ListedMember]:
    return [entry(name) for name in "abc"]


def acts(steps: tuple[Step, ...]) -> list[Act]:
    return [step.act for step in steps]


def refusal(plan, *arguments) -> str:
    with pytest.raises(ProblemsError) as refused:
        plan(*arguments)
    return str(refused.value)


# --- replace --------------------------------------------------------------------------


def test_removed_before_added() -> None:
    """While a lost member is listed it counts, so it goes first; the vote comes last."""
    steps = plan_replace(view_of(*three(), down="c"), subject("c"))
    assert acts(steps) == [Act.REMOVE, Act.ADD, Act.WAIT, Act.PROMOTE]
    assert steps[0].member_id == IDS["c"]
    assert "Connection refused" in steps[0].why


LEARNER = entry("c", number=NEW, learner=True)
WAITS = entry("c", number=NEW, learner=True, started=False)


@pytest.mark.parametrize(
    ("listed", "known", "joined", "left"),
    [
        ([], IDS["c"], False, [Act.ADD, Act.WAIT, Act.PROMOTE]),
        ([WAITS], IDS["c"], False, [Act.ADOPT, Act.WAIT, Act.PROMOTE]),
        ([WAITS], NEW, True, [Act.WAIT, Act.PROMOTE]),
        ([LEARNER], IDS["c"], False, [Act.ADOPT, Act.PROMOTE]),
        ([LEARNER], NEW, True, [Act.PROMOTE]),
        ([replace(LEARNER, is_learner=False)], NEW, True, []),
    ],
)
def test_goes_on_where_it_was(listed, known, joined, left) -> None:
    """What the cluster lists says how far an earlier run came."""
    view = view_of(entry("a"), entry("b"), *listed)
    assert acts(plan_replace(view, subject("c", known=known, joined=joined))) == left


def test_an_unstarted_learner_is_not_promoted() -> None:
    """First boot relies on it: who has a vote is known as started."""
    steps = plan_replace(
        view_of(entry("a"), entry("b"), WAITS), subject("c", known=NEW, joined=True)
    )
    assert acts(steps).index(Act.WAIT) < acts(steps).index(Act.PROMOTE)


def test_a_member_that_answers_is_replaced_only_by_its_id() -> None:
    """And once that ID is gone, the same command goes on instead of beginning again."""
    assert f"--id {IDS['a']:x}" in refusal(plan_replace, view_of(*three()), subject("a"))
    steps = plan_replace(view_of(*three()), subject("a"), IDS["a"])
    assert acts(steps) == [Act.MOVE_LEADER, Act.REMOVE, Act.ADD, Act.WAIT, Act.PROMOTE]
    assert steps[0].member_id == IDS["c"]  # who is furthest
    done = entry("a", number=NEW)
    view = view_of(entry("b"), entry("c"), done)
    assert plan_replace(view, subject("a", known=NEW, joined=True), IDS["a"]) == ()


def test_a_learner_that_was_lost_too() -> None:
    """It is not thrown away for being slow, only by its ID."""
    view = view_of(entry("a"), entry("b"), LEARNER, down="c")
    who = subject("c", known=NEW, joined=True)
    assert acts(plan_replace(view, who)) == [Act.PROMOTE]
    assert acts(plan_replace(view, who, NEW))[:2] == [Act.REMOVE, Act.ADD]


def test_an_id_of_somebody_else() -> None:
    assert f"{IDS['b']:x} is b" in refusal(
        plan_replace, view_of(*three(), down="c"), subject("c"), IDS["b"]
    )


def test_a_replaced_member_that_is_lost_again() -> None:
    view = view_of(entry("a"), entry("b"), entry("c", number=NEW), down="c")
    steps = plan_replace(view, subject("c", known=NEW, joined=True))
    assert (steps[0].act, steps[0].member_id) == (Act.REMOVE, NEW)


def test_a_member_that_moves() -> None:
    """At its new address it is a learner, at its old one it is lost: it goes, that stays."""
    moved = replace(WAITS, peer_urls=("https://192.0.2.99:2380",))
    who = Subject(name="c", peer_url="https://192.0.2.99:2380", known_id=IDS["c"], joined=False)
    steps = plan_replace(view_of(*three(), moved, down="c"), who)
    assert acts(steps) == [Act.REMOVE, Act.ADOPT, Act.WAIT, Act.PROMOTE]


# --- what is refused ------------------------------------------------------------------


def test_quorum() -> None:
    """What counts is who would be left: all of two, three of four."""
    five = [entry(name) for name in "abcde"]
    said = refusal(plan_remove, view_of(*three(), down="b"), subject("c"))
    assert "without it the cluster needs 2 of 2 members, and only 1 run" in said
    assert "b: Connection refused" in said
    assert plan_replace(view_of(*five, down="de"), subject("e"))
    assert "3 of 4 members, and only 2" in refusal(
        plan_replace, view_of(*five, down="cde"), subject("e")
    )
    assert "the only member" in refusal(plan_remove, view_of(entry("a")), subject("a"))


@pytest.mark.parametrize("stranger", [entry("d", learner=True), entry("d", started=False)])
@pytest.mark.parametrize("plan", [plan_replace, plan_add, plan_remove])
def test_one_change_at_a_time(plan, stranger) -> None:
    """Somebody else's learner, or a member that never started, is another change."""
    view = view_of(*three(), stranger, down="c")
    assert "another change is under way" in refusal(plan, view, subject("c"))


def test_a_cluster_grows_while_all_run() -> None:
    who = Subject(name="d", peer_url=url("d", 2380), known_id=None, joined=False)
    assert acts(plan_add(view_of(*three()), who)) == [Act.ADD, Act.WAIT, Act.PROMOTE]
    assert "c: does not run: Connection refused" in refusal(
        plan_add, view_of(*three(), down="c"), who
    )
    assert "the record does not know it" in refusal(plan_add, view_of(*three(), entry("d")), who)


@pytest.mark.parametrize(
    ("says", "running", "problem"),
    [
        ("", "3.7.0", ""),
        ('etcd: {version: "3.5"}', "3.5.16", ""),
        ("distribution: debian-12", "3.5.16", "an older minor"),
        ('etcd: {version: "3.6.1"}', "3.5.16", "3.5.32"),
    ],
)
def test_which_etcd_may_join(says, running, problem) -> None:
    """One that the spec states; a spec that states none holds nobody up."""
    spec, _ = parse_spec(SPEC + says, source="spec")
    found = list(version_problems(spec, view_of(*three(), version=running)))
    assert bool(found) == bool(problem)
    assert problem in "".join(map(str, found))


# --- the record and the documents -----------------------------------------------------


def recorded(*events: Event) -> Record:
    cluster = make_cluster(SPEC, token="t")
    return replace(record_of(cluster), observed=tuple(map(event_json, events)))


def added(name: str, number: int, others: str = "abc") -> MemberAdded:
    members = [
        RecordedMember(name=n, peer_url=url(n, 2380), member_id=number if n == name else IDS[n])
        for n in sorted({*others, name})
    ]
    return MemberAdded(at=NOW, name=name, members=tuple(members))


def cluster_with(*events: Event, spec: str = SPEC) -> Cluster:
    parsed, _ = parse_spec(spec, source="spec")
    record = Record.from_json(recorded(*events).to_json())
    return Cluster(spec=parsed, identity=identity_for(parsed, record, now=NOW))


def test_only_the_replaced_member_changes() -> None:
    """It has its new ID, comes into what exists, and boots anew; the others stay as they were."""
    before, after = cluster_with(), cluster_with(added("c", NEW))
    assert before.cluster_id == after.cluster_id
    for old, new in zip(before.members[:2], after.members[:2], strict=True):
        assert old == new
        assert before.settings(old, None) == after.settings(new, None)
        assert before.others(old) == after.others(new)
    replaced = after.members[2]
    assert replaced.member_id == NEW
    assert replaced.instance_id != before.members[2].instance_id
    settings = after.settings(replaced, None)
    assert settings["ETCD_INITIAL_CLUSTER_STATE"] == "existing"
    assert (
        settings["ETCD_INITIAL_CLUSTER"]
        == before.settings(before.members[2], None)["ETCD_INITIAL_CLUSTER"]
    )
    assert [o.member_id for o in after.others(replaced)] == [IDS["a"], IDS["b"]]


def test_every_life_has_its_own_instance_id() -> None:
    """Neither raising the generation nor replacing gives an ID that was there before."""
    ids = [instance_id("s", "c", "m", g, e) for g in range(1, 4) for e in range(3)]
    assert len(set(ids)) == len(ids)
    assert instance_id("s", "c", "m", 2, 0) == instance_id("s", "c", "m", 2)
    lives = [cluster_with(*[added("c", NEW + n) for n in range(count)]) for count in range(4)]
    assert len({cluster.members[2].instance_id for cluster in lives}) == 4


def test_a_name_that_comes_back_is_another_life() -> None:
    gone = MemberRemoved(at=NOW, name="c")
    back = cluster_with(gone, added("c", NEW, "ab"))
    assert back.members[2].instance_id != cluster_with().members[2].instance_id
    assert back.members[2].instance_id == cluster_with(added("c", NEW)).members[2].instance_id


def test_the_record_knows_who_belongs() -> None:
    fourth = SPEC + "  - {name: d, address: 192.0.2.14}\n"
    grown = cluster_with(added("d", NEW), spec=fourth)
    assert grown.cluster_id == cluster_with().cluster_id
    assert [o.name for o in grown.others(grown.members[0])] == ["b", "c"]
    assert [o.name for o in grown.others(grown.members[3])] == ["a", "b", "c"]
    without_c = "\n".join(line for line in SPEC.splitlines() if "name: c" not in line)
    shrunk = cluster_with(MemberRemoved(at=NOW, name="c"), spec=without_c)
    assert shrunk.settings(shrunk.members[0], None) == cluster_with().settings(
        cluster_with().members[0], None
    )
    for spec, hint in ((fourth, "member add"), (without_c, "member remove")):
        with pytest.raises(ImagegenError, match=f"imagegen {hint}"):
            cluster_with(spec=spec)
    voted = recorded(added("d", NEW), MemberPromoted(at=NOW, name="d"))
    assert voted.joined["d"].promoted


def test_an_unstarted_voter_has_its_name_from_the_record() -> None:
    """etcd lists none for it, and an initial cluster needs one."""
    listed = [entry("a"), entry("b", started=False), entry("c", number=NEW, started=False)]
    members = initial_members(subject("c"), NEW, listed, recorded())
    assert [(m.name, m.member_id) for m in members] == [("a", 0xA), ("b", 0xB), ("c", NEW)]
