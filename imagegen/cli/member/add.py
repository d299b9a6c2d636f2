"""``imagegen member add``: a member that is new in the spec."""

from imagegen.cli.inputs import parse_duration, parse_now, read_passphrase
from imagegen.cli.member.joined import print_rest, print_written
from imagegen.cli.member.plan import print_plan
from imagegen.cli.messages import DRY_RUN
from imagegen.cli.options import (
    OUT,
    PKI,
    DryRunOption,
    NameArgument,
    NowOption,
    OutputOption,
    PassphraseOption,
    PkiOption,
    PromotionOption,
    ReissueOption,
    SecretsOption,
    SpecArgument,
    TargetOption,
    TemplatesOption,
)


def add(
    spec: SpecArgument,
    name: NameArgument,
    wait: PromotionOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = OUT,
    pki: PkiOption = PKI,
    target: TargetOption = None,
    secrets: SecretsOption = None,
    templates: TemplatesOption = None,
    reissue: ReissueOption = False,
    now: NowOption = None,
    ca_passphrase_file: PassphraseOption = None,
) -> None:
    """Bring in a member that is new in the spec.

    Adds it as a learner, and writes its seed; run again once the machine has
    booted, or with --wait, it promotes it.
    """
    from imagegen.build.load import load_specs
    from imagegen.build.options import USUAL_TARGETS, Options
    from imagegen.day2.member.add import add_member, plan_addition

    seconds = parse_duration(wait) if wait else 0
    options = Options(
        now=parse_now(now),
        output=output,
        pki=pki,
        targets=tuple(dict.fromkeys(target or USUAL_TARGETS)),
        secrets=secrets,
        templates=templates,
        reissue=reissue,
        passphrase=read_passphrase(ca_passphrase_file),
    )
    [loaded] = load_specs([spec], options)
    if dry_run:
        print_plan("add", plan_addition(loaded, options, name))
        print(DRY_RUN)
        return
    joined = add_member(
        loaded,
        options,
        name,
        wait=seconds,
        say=print,
        announce=lambda plan: print_plan("add", plan),
        wrote=print_written,
    )
    print_rest(joined, wait)
