"""A plan in the operator's words."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagegen.day2.member.plan import Plan


def print_plan(verb: str, plan: "Plan", *, also: Sequence[str] = ()) -> None:
    """Print the steps, ``also`` as the last, and how much the cluster can bear meanwhile."""
    view, subject = plan.view, plan.subject
    print(f"{subject.name}: {verb}")
    for number, line in enumerate((*_lines(plan), *also), 1):
        print(f"  {number}. {line}")
    run = [m.name for m in view.voters if m.member_id in view.healthy]
    left = [m for m in view.voters if not subject.is_it(m)]
    needed = len(left) // 2 + 1
    spare = len([m for m in left if m.member_id in view.healthy]) - needed
    print(f"  running: {', '.join(run)}; of the {len(left)} others {needed} must, spare: {spare}")


def _lines(plan: "Plan") -> list[str]:
    from imagegen.cluster.cluster import hex_id
    from imagegen.day2.member.changes import Act

    names = {member.member_id: member.name for member in plan.view.members}
    lines = []
    for step in plan.steps:
        number = hex_id(step.member_id)
        lines += {
            Act.MOVE_LEADER: [f"have {names.get(step.member_id)} lead: {step.why}"],
            Act.REMOVE: [f"remove member {number}: {step.why}"],
            Act.ADD: [
                f"add {plan.subject.peer_url} as a learner, without a vote",
                "record it, and write its seed with the members there are then",
            ],
            Act.ADOPT: [f"record learner {number}: {step.why}", "write its seed"],
            Act.WAIT: ["wait for its machine to start it"],
            Act.PROMOTE: ["promote it once it has caught up"],
        }[step.act]
    return lines
