"""What `member replace` and `member add` say of how far a member has come."""

from typing import TYPE_CHECKING

from imagegen.base.problems import ImagegenError
from imagegen.cli.messages import say_notes, say_problems

if TYPE_CHECKING:
    from imagegen.day2.member.join import Joined


def print_written(joined: "Joined") -> None:
    """Where the member's seed is, with what there is to say of it."""
    built = joined.built
    if built is None:
        return
    say_problems(built.warnings)
    say_notes(built.notes)
    [member] = (m for m in built.cluster.members if m.name == joined.plan.subject.name)
    print(f"wrote {joined.folder} (instance-id {member.instance_id})", flush=True)


def print_rest(joined: "Joined", wait: str | None) -> None:
    """What is left for the operator.

    Raises:
        ImagegenError: the member was waited for, and has no vote yet.
    """
    name = joined.plan.subject.name
    if joined.built is None:
        print(f"{name}: nothing to do, it is a member with a vote")
    elif not joined.promoted and wait:
        raise ImagegenError(
            f"is not in sync after {wait}", where=name, hint="run this again to go on"
        )
    elif not joined.promoted:
        print(
            "\nNext:\n"
            f"  1. Attach what is in {joined.folder} to the new machine, and power it on.\n"
            "  2. Its console says that it is a learner; then run this again, to promote it.\n"
            "  3. Delete what holds private keys."
        )
