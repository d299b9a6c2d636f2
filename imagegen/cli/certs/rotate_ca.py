"""``imagegen certs rotate-ca``: another CA, in three steps."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagegen.cli.inputs import parse_now, read_passphrase
from imagegen.cli.messages import DRY_RUN, say_problems
from imagegen.cli.options import (
    OUT,
    PKI,
    DirectoryOption,
    DryRunOption,
    NowOption,
    OutputOption,
    PassphraseOption,
    PkiOption,
    SpecArgument,
    TemplatesOption,
)
from imagegen.documents.names import SCRIPT

if TYPE_CHECKING:
    from imagegen.day2.rotate_ca import Rotating


def rotate_ca(
    spec: SpecArgument,
    peer: Annotated[bool, typer.Option("--peer", help="The CA of the peer port.")] = False,
    client: Annotated[
        bool, typer.Option("--client", help="The CA of the client port: servers and clients.")
    ] = False,
    go_on: Annotated[
        bool, typer.Option("--next", help="Go on, if all members show that this step is done.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="With --next: without looking at the members.")
    ] = False,
    dry_run: DryRunOption = False,
    directory: DirectoryOption = None,
    pki: PkiOption = PKI,
    output: OutputOption = OUT,
    templates: TemplatesOption = None,
    now: NowOption = None,
    ca_passphrase_file: PassphraseOption = None,
) -> None:
    """Replace a CA of the running cluster in three steps; shows the step it is in."""
    from imagegen.base.problems import ImagegenError
    from imagegen.build.load import load_specs
    from imagegen.build.options import Options
    from imagegen.day2 import rotate_ca as rotation

    if peer and client:
        raise ImagegenError("--peer and --client exclude each other", hint="one after the other")
    options = Options(
        now=parse_now(now),
        pki=pki,
        output=output,
        templates=templates,
        passphrase=read_passphrase(ca_passphrase_file),
    )
    [loaded] = load_specs([spec], options)
    plan = rotation.rotate_ca(
        loaded,
        options,
        "peer-ca" if peer else "client-ca" if client else None,
        go_on=go_on,
        offline=offline,
        directory=directory,
        announce=lambda plan: _print_rotation(plan, options.pki),
        dry_run=dry_run,
    )
    if dry_run:
        print(DRY_RUN)
        return
    if plan.moved:
        print(f"{options.pki / plan.cluster.name}: saved")
    if plan.step:
        print(f"{plan.directory}: written")


def _print_rotation(plan: "Rotating", pki: Path) -> None:
    from imagegen.day2.rotate_ca import STEPS

    say_problems(plan.warnings)
    store = pki / plan.cluster.name
    if plan.step is None:
        print(f"{plan.name}: the rotation is over; older generations of {store} keep the old CA")
        return
    for step, what in STEPS.items():
        mark = "->" if step == plan.step else "  "
        print(f"{mark} step {step} of 3: {what}")
    restart = "" if plan.step == 2 else ", which restarts its etcd"
    print(f"on each member, one at a time, run its apply.sh{restart}:")
    for name in plan.order:
        remark = "  (it leads: last)" if name == plan.leader else ""
        print(f"  {plan.directory / name / SCRIPT}{remark}")
    if plan.leader is None and plan.step != 2:
        print("nobody said who leads: take that member last")
    if plan.name == plan.pki.ca.name:
        print(
            {
                1: f"callers: give each of them both CAs, {store / plan.name}.pem",
                2: f"callers: give each of them its new certificate, from {store / 'clients'}",
                3: "callers: those that still show a certificate of the old CA are refused now",
            }[plan.step]
        )
    print("new machines: imagegen build --force")
    print("then: imagegen certs rotate-ca SPEC --next")
    sys.stdout.flush()
