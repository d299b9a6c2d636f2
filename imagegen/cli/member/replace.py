"""``imagegen member replace``: a new machine for a member whose machine or disk is lost."""

from typing import Annotated

import typer

from imagegen.base.problems import ImagegenError
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


def replace(
    spec: SpecArgument,
    name: NameArgument,
    lost: Annotated[
        str | None,
        typer.Option("--id", help="ID of the member to replace, if it still answers."),
    ] = None,
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
    """Give a member whose machine or disk is lost a new machine.

    Removes it, adds it as a learner, and writes its seed; run again once the
    machine has booted, or with --wait, it promotes it.
    """
    from imagegen.build.load import load_specs
    from imagegen.build.options import USUAL_TARGETS, Options
    from imagegen.day2.member.replace import plan_replacement, replace_member

    seconds = parse_duration(wait) if wait else 0
    number = _id(lost)
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
        print_plan("replace", plan_replacement(loaded, options, name, lost=number))
        print(DRY_RUN)
        return
    joined = replace_member(
        loaded,
        options,
        name,
        lost=number,
        wait=seconds,
        say=print,
        announce=lambda plan: print_plan("replace", plan),
        wrote=print_written,
    )
    print_rest(joined, wait)


def _id(text: str | None) -> int | None:
    try:
        return None if text is None else int(text, 16)
    except ValueError:
        raise ImagegenError(
            f"--id: {text!r} is not a member ID",
            hint="as etcdctl prints it, such as 8e9e05c52164694d",
        ) from None
