"""A member that is new in the spec."""

from __future__ import annotations

from collections.abc import Callable

from imagegen.base.problems import ImagegenError
from imagegen.build.load import LoadedSpec
from imagegen.build.options import Options
from imagegen.day2.member.changes import plan_add
from imagegen.day2.member.hands import Hands
from imagegen.day2.member.join import Joined, Planner, join, plan_joining
from imagegen.day2.member.plan import Plan, look_at, quiet, subject_of
from imagegen.store.store import Stored


def plan_addition(loaded: LoadedSpec, options: Options, name: str) -> Plan:
    """What is left to do; nothing is changed.

    Raises:
        ImagegenError: it must not be done, or what it needs cannot be made.
    """
    return plan_joining(loaded, options, _planner(name))


def add_member(
    loaded: LoadedSpec,
    options: Options,
    name: str,
    *,
    wait: float = 0.0,
    say: Callable[[str], None] = quiet,
    announce: Callable[[Plan], object] = id,
    wrote: Callable[[Joined], object] = id,
) -> Joined:
    """Add the member as a learner, write its seed, and promote it once it has started.

    As :func:`imagegen.day2.member.replace.replace_member`, for a member that the
    recorded cluster does not have.

    Raises:
        ImagegenError: it must not be done, or a step failed; call again to go on.
    """
    planner = _planner(name)
    return join(loaded, options, planner, wait=wait, say=say, announce=announce, wrote=wrote)


def _planner(name: str) -> Planner:
    def planned(loaded: LoadedSpec, stored: Stored, hands: Hands) -> Plan:
        record = stored.record
        subject = subject_of(loaded.spec, record, name)
        known = record.present.get(name)
        if known and (name not in record.joined or known.peer_url != subject.peer_url):
            raise ImagegenError(
                f"is in the recorded cluster, at {known.peer_url}",
                where=name,
                hint="imagegen member replace gives it a new machine",
            )
        view = look_at(hands, loaded.spec, record)
        return Plan(subject=subject, view=view, steps=plan_add(view, subject))

    return planned
