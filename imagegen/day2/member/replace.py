"""A new machine for a member whose machine or disk is lost."""

from __future__ import annotations

from collections.abc import Callable

from imagegen.base.problems import ImagegenError
from imagegen.build.load import LoadedSpec
from imagegen.build.options import Options
from imagegen.day2.member.changes import plan_replace
from imagegen.day2.member.hands import Hands
from imagegen.day2.member.join import Joined, Planner, join, plan_joining
from imagegen.day2.member.plan import Plan, look_at, quiet, subject_of
from imagegen.store.store import Stored


def plan_replacement(
    loaded: LoadedSpec, options: Options, name: str, *, lost: int | None = None
) -> Plan:
    """What is left to do; nothing is changed.

    ``lost`` is the ID of a member to replace although it answers.

    Raises:
        ImagegenError: it must not be done, or what it needs cannot be made.
    """
    return plan_joining(loaded, options, _planner(name, lost))


def replace_member(
    loaded: LoadedSpec,
    options: Options,
    name: str,
    *,
    lost: int | None = None,
    wait: float = 0.0,
    say: Callable[[str], None] = quiet,
    announce: Callable[[Plan], object] = id,
    wrote: Callable[[Joined], object] = id,
) -> Joined:
    """Remove the member, add it as a learner, write its seed, and promote it once it has started.

    ``announce`` is told the plan before its first step is taken, ``wrote`` where
    the seed is, ``say`` each step. The machine has to boot from the seed before
    its member can be promoted: for that, wait ``wait`` seconds, or call again.

    Raises:
        ImagegenError: it must not be done, or a step failed; call again to go on.
    """
    planner = _planner(name, lost)
    return join(loaded, options, planner, wait=wait, say=say, announce=announce, wrote=wrote)


def _planner(name: str, lost: int | None) -> Planner:
    def planned(loaded: LoadedSpec, stored: Stored, hands: Hands) -> Plan:
        record = stored.record
        subject = subject_of(loaded.spec, record, name)
        if name not in record.present:
            raise ImagegenError(
                "is not in the recorded cluster",
                where=name,
                hint=f"imagegen member add; members: {', '.join(record.present)}",
            )
        view = look_at(hands, loaded.spec, record)
        return Plan(subject=subject, view=view, steps=plan_replace(view, subject, lost))

    return planned
