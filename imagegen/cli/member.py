"""imagegen member: replace, add and remove members of a running cluster."""

import time
from dataclasses import replace as changed
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagegen.base.problems import ImagegenError
from imagegen.cli.shared import (
    NowOption,
    PassphraseOption,
    PkiOption,
    SpecArgument,
    TemplatesOption,
    parse_duration,
    parse_now,
    read_passphrase,
    say_problems,
)

if TYPE_CHECKING:
    from imagegen.build.build import LoadedSpec, Options
    from imagegen.cluster.cluster import Cluster, Member
    from imagegen.day2.membership import Hands, Step, Subject, View
    from imagegen.store.record import Record
    from imagegen.store.store import Store, Stored

app = typer.Typer(help="Change who belongs to a running cluster.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The member's name.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Root of the artifacts.")]
Target = Annotated[list[str] | None, typer.Option(help="As of `imagegen build`; repeatable.")]
Secrets = Annotated[str | None, typer.Option(help="embed, split or external, as of build.")]
Reissue = Annotated[bool, typer.Option("--reissue", help="As of build.")]
Wait = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION", help="Wait for the machine to promote its member, such as 10m."
    ),
]
OUT, PKI = Path("out"), Path("pki")

#: Every step looks at the cluster first, so this is the way out of any interruption.
AGAIN = "what was done counts; run this again: it looks at the cluster and goes on from there"


@app.command()
def replace(
    spec: SpecArgument,
    name: NameArgument,
    lost: Annotated[
        str | None,
        typer.Option("--id", help="ID of the member to replace, if it still answers."),
    ] = None,
    wait: Wait = None,
    dry_run: DryRun = False,
    output: Output = OUT,
    pki: PkiOption = PKI,
    target: Target = None,
    secrets: Secrets = None,
    templates: TemplatesOption = None,
    reissue: Reissue = False,
    now: NowOption = None,
    ca_passphrase_file: PassphraseOption = None,
) -> None:
    """Give a member whose machine or disk is lost a new machine.

    Removes it, adds it as a learner, and writes its seed; run again once the
    machine has booted, or with --wait, it promotes it.
    """
    from imagegen.day2.membership import plan_replace

    options = _options(
        name, output, pki, target, secrets, templates, reissue, now, ca_passphrase_file
    )
    number = _id(lost)
    _join(spec, name, options, lambda view, who: plan_replace(view, who, number), dry_run, wait)


@app.command()
def add(
    spec: SpecArgument,
    name: NameArgument,
    wait: Wait = None,
    dry_run: DryRun = False,
    output: Output = OUT,
    pki: PkiOption = PKI,
    target: Target = None,
    secrets: Secrets = None,
    templates: TemplatesOption = None,
    reissue: Reissue = False,
    now: NowOption = None,
    ca_passphrase_file: PassphraseOption = None,
) -> None:
    """Bring in a member that is new in the spec.

    Adds it as a learner, and writes its seed; run again once the machine has
    booted, or with --wait, it promotes it.
    """
    from imagegen.day2.membership import plan_add

    options = _options(
        name, output, pki, target, secrets, templates, reissue, now, ca_passphrase_file
    )
    _join(spec, name, options, plan_add, dry_run, wait, new=True)


@app.command()
def remove(
    spec: SpecArgument,
    name: NameArgument,
    dry_run: DryRun = False,
    pki: PkiOption = PKI,
    now: NowOption = None,
) -> None:
    """Take a member out of the cluster; the spec may still have it."""
    from imagegen.build.build import load_spec
    from imagegen.day2.membership import Act, move_leader, plan_remove
    from imagegen.day2.membership import remove as take_off
    from imagegen.store.events import MemberRemoved
    from imagegen.store.store import Store

    instant = parse_now(now)
    loaded = load_spec(spec, now=instant)
    store = Store(pki, loaded.spec.cluster)
    with store.opened() as stored:
        known = stored.record.present.get(name)
        if known is None:
            raise ImagegenError(
                "is no member of the recorded cluster",
                where=name,
                hint=f"members: {', '.join(stored.record.present)}",
            )
        who = _subject(stored.record, name, known.peer_url)
        hands = hands_of(store)
        view = look_at(hands, loaded, stored.record)
        steps = plan_remove(view, who)
        _show(f"{name}: remove", [*_told(view, who, steps), "forget it in the record"], view, who)
        if dry_run:
            return
        for step in steps:
            with _resumable():
                (move_leader if step.act is Act.MOVE_LEADER else take_off)(hands, view, step)
        store.observe(MemberRemoved(at=instant, name=name))
    print(
        f"{name} is no member any more. Its machine can go; take it out of {spec} if it is there."
    )


def _join(
    spec: Path,
    name: str,
    options: "Options",
    plan: Any,
    dry_run: bool,
    wait: str | None,
    *,
    new: bool = False,
) -> None:
    """Everything that ends with a member promoted, from wherever an earlier run came to."""
    from imagegen.build.build import build_cluster, load_specs
    from imagegen.day2.membership import Act
    from imagegen.store.store import Store

    seconds = parse_duration(wait) if wait else 0
    [loaded] = load_specs([spec], options)
    store = Store(options.pki, loaded.spec.cluster)
    with store.opened() as stored:
        record = stored.record
        who = _subject_of(loaded, record, name, new=new)
        hands = hands_of(store)
        view = look_at(hands, loaded, record)
        steps: tuple[Step, ...] = plan(view, who)
        acts = {step.act for step in steps}
        if Act.ADD in acts:
            _rehearse(loaded, options, stored, view, who, steps)
        what = "add" if new else "replace"
        _show(f"{name}: {what}", _told(view, who, steps), view, who)
        if dry_run:
            return
        _change(store, hands, view, who, steps, options, record)
    if not steps:
        _remember_vote(store, who, options)
        print(f"{name}: nothing to do, it is a member with a vote")
        return
    built = build_cluster(loaded, options)
    say_problems(built.warnings)
    for note in built.notes:
        print(f"note: {note}")
    member = next(m for m in built.cluster.members if m.name == name)
    folder = built.directory / "members" / name
    print(f"wrote {folder} (instance-id {member.instance_id})")
    if _promoted(hands, loaded, store, name, member.member_id, seconds):
        _remember_vote(store, who, options)
        return
    if wait:
        raise ImagegenError(
            f"is not in sync after {wait}", where=name, hint="run this again to go on"
        )
    print(
        f"\nNext:\n  1. Attach what is in {folder} to the new machine, and power it on.\n"
        "  2. Its console says that it is a learner; then run this again, to promote it.\n"
        "  3. Delete what holds private keys."
    )


def _change(
    store: "Store",
    hands: "Hands",
    view: "View",
    who: "Subject",
    steps: "tuple[Step, ...]",
    options: "Options",
    record: "Record",
) -> None:
    """What changes the cluster's list, and its record in the store."""
    from imagegen.day2.membership import Act, initial_members, move_leader
    from imagegen.day2.membership import add as list_learner
    from imagegen.day2.membership import remove as take_off
    from imagegen.store.events import MemberAdded

    for step in steps:
        with _resumable():
            if step.act is Act.MOVE_LEADER:
                move_leader(hands, view, step)
            elif step.act is Act.REMOVE:
                take_off(hands, view, step)
            elif step.act in (Act.ADD, Act.ADOPT):
                gone = {s.member_id for s in steps if s.act is Act.REMOVE}
                number, listed = (
                    list_learner(hands, view, who)
                    if step.act is Act.ADD
                    else (step.member_id, tuple(m for m in view.members if m.member_id not in gone))
                )
                members = initial_members(who, number, listed, record)
                store.observe(
                    MemberAdded(
                        at=options.now, name=who.name, members=members, replaces=who.known_id
                    )
                )


def _rehearse(
    loaded: "LoadedSpec",
    options: "Options",
    stored: "Stored",
    view: "View",
    who: "Subject",
    steps: "tuple[Step, ...]",
) -> None:
    """Make all that is to be made once, in memory: what cannot be made is not begun."""
    from imagegen.base.problems import raise_errors
    from imagegen.build.build import package_members, prepare_from
    from imagegen.day2.membership import initial_members, version_problems
    from imagegen.documents.templates import Templates
    from imagegen.live.client import ListedMember
    from imagegen.store.events import MemberAdded

    raise_errors(version_problems(loaded.spec, view))
    gone = {step.member_id for step in steps}
    new = ListedMember(
        member_id=1, name="", peer_urls=(who.peer_url,), client_urls=(), is_learner=True
    )
    listed = (*(m for m in view.members if m.member_id not in gone), new)
    members = initial_members(who, 1, listed, stored.record)
    record = stored.record.after(MemberAdded(at=options.now, name=who.name, members=members))
    prepared = prepare_from(loaded, options, changed(stored, record=record))
    package_members(prepared, options, Templates(options.templates))


def _promoted(
    hands: "Hands", loaded: "LoadedSpec", store: "Store", name: str, number: int, seconds: float
) -> bool:
    """Give the member its vote once it has started and caught up; False if it has not in time."""
    from imagegen.cluster.cluster import hex_id
    from imagegen.day2.membership import promote

    end = time.monotonic() + seconds
    record = store.existing().record
    said = ""
    while True:
        try:
            with _resumable():
                view = look_at(hands, loaded, record)
                listed = next((m for m in view.members if m.member_id == number), None)
                if listed is None:
                    raise ImagegenError("was taken off the cluster's list", where=name, hint=AGAIN)
                if not listed.is_learner:
                    return True
                reason = f"{name} has not started yet"
                if listed.client_urls and number not in view.statuses:
                    # etcd would promote it all the same, and count on its vote.
                    reason = (
                        f"{name} does not answer: {view.why_down(listed)}; if its disk is lost "
                        f"as well: imagegen member replace --id {hex_id(number)}"
                    )
                elif listed.client_urls:
                    if promote(hands, view.ask(), number):
                        return True
                    reason = f"{name} has not caught up yet"
        except ImagegenError as error:
            if time.monotonic() >= end:
                raise
            reason = error.problems[0].what
        if reason != said:
            print(reason)
            said = reason
        if time.monotonic() >= end:
            return False
        time.sleep(2)


def _remember_vote(store: "Store", who: "Subject", options: "Options") -> None:
    from imagegen.store.events import MemberPromoted

    with store.opened() as stored:
        joined = stored.record.joined.get(who.name)
        if joined and not joined.promoted:
            store.observe(MemberPromoted(at=options.now, name=who.name))


# --- what all of them begin with ------------------------------------------------------


def _options(
    name: str,
    output: Path,
    pki: Path,
    target: list[str] | None,
    secrets: str | None,
    templates: Path | None,
    reissue: bool,
    now: str | None,
    passphrase_file: Path | None,
) -> "Options":
    from imagegen.build.build import Options
    from imagegen.spec.model import SECRETS

    if secrets not in (None, *SECRETS):
        raise ImagegenError(f"--secrets: {secrets!r} is none of {', '.join(SECRETS)}")
    return Options(
        now=parse_now(now),
        output=output,
        pki=pki,
        targets=tuple(dict.fromkeys(target or ["nocloud-iso"])),
        secrets=secrets,
        members=(name,),
        templates=templates,
        reissue=reissue,
        # Of this member alone, and what the plan says: its seed is to be another.
        force=True,
        passphrase=read_passphrase(passphrase_file),
    )


def _id(text: str | None) -> int | None:
    try:
        return None if text is None else int(text, 16)
    except ValueError:
        raise ImagegenError(
            f"--id: {text!r} is no member ID", hint="as etcdctl prints it, such as 8e9e05c52164694d"
        ) from None


def _subject(record: "Record", name: str, peer_url: str) -> "Subject":
    from imagegen.day2.membership import Subject

    known = record.present.get(name)
    return Subject(
        name=name,
        peer_url=peer_url,
        known_id=known.member_id if known else None,
        joined=name in record.joined,
    )


def _subject_of(loaded: "LoadedSpec", record: "Record", name: str, *, new: bool) -> "Subject":
    """The member as the spec wants it; `replace` is for those in the record, `add` for others."""
    member = next(m for m in _cluster(loaded, record).members if m.name == name)
    known = record.present.get(name)
    if known is None and not new:
        raise ImagegenError(
            "is not in the recorded cluster",
            where=name,
            hint=f"imagegen member add; members: {', '.join(record.present)}",
        )
    if (
        known is not None
        and new
        and (name not in record.joined or known.peer_url != member.peer_url)
    ):
        raise ImagegenError(
            f"is in the recorded cluster, at {known.peer_url}",
            where=name,
            hint="imagegen member replace gives it a new machine",
        )
    return _subject(record, name, member.peer_url)


def _cluster(loaded: "LoadedSpec", record: "Record") -> "Cluster":
    from imagegen.cluster.cluster import Cluster, Identity

    identity = Identity(store_id="", token=record.token, created=record.created)
    return Cluster(spec=loaded.spec, identity=identity)


def hands_of(store: "Store") -> "Hands":
    """The store's client, with a voice and the time to wait."""
    from imagegen.day2.membership import Hands
    from imagegen.live.client import caller_of

    return Hands(caller=caller_of(store.path), say=print, sleep=time.sleep)


def members_of(loaded: "LoadedSpec", record: "Record") -> "list[Member]":
    """The members of the spec that belong to the cluster."""
    return [member for member in _cluster(loaded, record).members if member.name in record.present]


def look_at(hands: "Hands", loaded: "LoadedSpec", record: "Record") -> "View":
    """The cluster as its members answer."""
    from imagegen.day2.membership import look

    urls = [member.client_url for member in members_of(loaded, record)]
    return look(hands.caller, urls, record.cluster_id, sleep=hands.sleep)


class _resumable:  # noqa: N801  # reads as the statement it is
    """etcd's own refusals, with the way on."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from imagegen.live.client import RefusedError, UnreachableError

        if isinstance(error, RefusedError | UnreachableError):
            problem = error.problems[0]
            raise ImagegenError(problem.what, where=problem.where, hint=AGAIN) from None


def _told(view: "View", who: "Subject", steps: "tuple[Step, ...]") -> list[str]:
    """The steps in the operator's words."""
    from imagegen.cluster.cluster import hex_id
    from imagegen.day2.membership import Act

    names = {member.member_id: member.name for member in view.members}
    lines = []
    for step in steps:
        number = hex_id(step.member_id)
        lines += {
            Act.MOVE_LEADER: [f"have {names.get(step.member_id)} lead: {step.why}"],
            Act.REMOVE: [f"remove member {number}: {step.why}"],
            Act.ADD: [
                f"add {who.peer_url} as a learner, without a vote",
                "record it, and write its seed with the members there are then",
            ],
            Act.ADOPT: [f"record learner {number}: {step.why}", "write its seed"],
            Act.WAIT: ["wait for its machine to start it"],
            Act.PROMOTE: ["promote it once it has caught up"],
        }[step.act]
    return lines


def _show(title: str, lines: list[str], view: "View", who: "Subject") -> None:
    """The plan, and how much the cluster can bear meanwhile."""
    print(title)
    for number, line in enumerate(lines, 1):
        print(f"  {number}. {line}")
    run = [m.name for m in view.voters if m.member_id in view.healthy]
    left = [m for m in view.voters if not who.is_it(m)]
    needed = len(left) // 2 + 1
    spare = len([m for m in left if m.member_id in view.healthy]) - needed
    print(f"  running: {', '.join(run)}; of the {len(left)} others {needed} must, spare: {spare}")
