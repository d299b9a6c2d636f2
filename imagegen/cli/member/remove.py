"""``imagegen member remove``: a member that is to leave the cluster."""

from imagegen.cli.inputs import parse_now
from imagegen.cli.member.plan import print_plan
from imagegen.cli.messages import DRY_RUN
from imagegen.cli.options import (
    PKI,
    DryRunOption,
    NameArgument,
    NowOption,
    PkiOption,
    SpecArgument,
)

#: The last step, which only the store sees.
FORGET = "forget it in the record"


def remove(
    spec: SpecArgument,
    name: NameArgument,
    dry_run: DryRunOption = False,
    pki: PkiOption = PKI,
    now: NowOption = None,
) -> None:
    """Take a member out of the cluster; the spec may still have it."""
    from imagegen.build.load import load_spec
    from imagegen.build.options import Options
    from imagegen.day2.member.remove import plan_removal, remove_member

    options = Options(now=parse_now(now), pki=pki)
    loaded = load_spec(spec, now=options.now)
    if dry_run:
        print_plan("remove", plan_removal(loaded, options, name), also=[FORGET])
        print(DRY_RUN)
        return
    remove_member(
        loaded,
        options,
        name,
        say=print,
        announce=lambda plan: print_plan("remove", plan, also=[FORGET]),
    )
    print(
        f"{name} is no member any more. Its machine can go; take it out of {spec} if it is there."
    )
