"""A member that is to leave the cluster."""

from __future__ import annotations

from collections.abc import Callable

from imagegen.base.problems import ImagegenError
from imagegen.build.load import LoadedSpec
from imagegen.build.options import Options
from imagegen.day2.member import hands as doing
from imagegen.day2.member.changes import Act, plan_remove
from imagegen.day2.member.hands import Hands
from imagegen.day2.member.plan import Plan, hands_of, look_at, quiet, resumable, subject_in
from imagegen.store.events import MemberRemoved
from imagegen.store.record import Record
from imagegen.store.store import Store


def plan_removal(loaded: LoadedSpec, options: Options, name: str) -> Plan:
    """What is left to do; nothing is changed.

    Raises:
        ImagegenError: the recorded cluster has no such member, or it must not go.
    """
    store = Store(options.pki, loaded.spec.cluster)
    return _planned(loaded, store.existing().record, name, hands_of(store))


def remove_member(
    loaded: LoadedSpec,
    options: Options,
    name: str,
    *,
    say: Callable[[str], None] = quiet,
    announce: Callable[[Plan], object] = id,
) -> Plan:
    """Take a member of the recorded cluster off the list; the spec may still have it, or not.

    ``announce`` is told the plan before its first step is taken, ``say`` each step.

    Raises:
        ImagegenError: it must not be done, or a step failed; call again to go on.
    """
    store = Store(options.pki, loaded.spec.cluster)
    hands = hands_of(store, say=say)
    with store.opened() as stored:
        plan = _planned(loaded, stored.record, name, hands)
        announce(plan)
        for step in plan.steps:
            with resumable():
                if step.act is Act.MOVE_LEADER:
                    doing.move_leader(hands, plan.view, step)
                else:
                    doing.remove(hands, plan.view, step)
        store.observe(MemberRemoved(at=options.now, name=name))
    return plan


def _planned(loaded: LoadedSpec, record: Record, name: str, hands: Hands) -> Plan:
    known = record.present.get(name)
    if known is None:
        raise ImagegenError(
            "is no member of the recorded cluster",
            where=name,
            hint=f"members: {', '.join(record.present)}",
        )
    subject = subject_in(record, name, known.peer_url)
    view = look_at(hands, loaded.spec, record)
    return Plan(subject=subject, view=view, steps=plan_remove(view, subject))
