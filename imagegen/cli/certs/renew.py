"""``imagegen certs renew``: new certificates, and how they come to the members."""

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
    from imagegen.day2.renew import Renewed


def renew(
    spec: SpecArgument,
    member: Annotated[list[str] | None, typer.Option(help="Only this member; repeatable.")] = None,
    client: Annotated[list[str] | None, typer.Option(help="Only this client; repeatable.")] = None,
    before: Annotated[
        int | None,
        typer.Option(metavar="DAYS", help="Only what ends within so many days.", min=0),
    ] = None,
    new_keys: Annotated[
        bool, typer.Option("--new-keys", help="New private keys too; asks for a restart of etcd.")
    ] = False,
    dry_run: DryRunOption = False,
    directory: DirectoryOption = None,
    pki: PkiOption = PKI,
    output: OutputOption = OUT,
    templates: TemplatesOption = None,
    now: NowOption = None,
    ca_passphrase_file: PassphraseOption = None,
) -> None:
    """Sign certificates anew, and write a script for each member that puts them in place.

    All of them unless members or clients are named.
    """
    from imagegen.build.load import load_specs
    from imagegen.build.options import Options
    from imagegen.day2 import renew as renewal

    options = Options(
        now=parse_now(now),
        pki=pki,
        output=output,
        templates=templates,
        passphrase=read_passphrase(ca_passphrase_file),
    )
    [loaded] = load_specs([spec], options)
    request = renewal.Request(
        members=tuple(member or ()),
        clients=tuple(client or ()),
        before=before,
        new_keys=new_keys,
        directory=directory,
    )
    plan = renewal.renew(
        loaded,
        options,
        request,
        announce=lambda plan: _print_renewal(plan, options.pki, new_keys),
        dry_run=dry_run,
    )
    if dry_run:
        print(DRY_RUN)
        return
    if plan.signed:
        print(f"{options.pki / plan.cluster.name}: saved")
    if plan.members:
        print(f"{plan.directory}: written")
        _print_how_to_apply(plan, new_keys)


def _print_renewal(plan: "Renewed", pki: Path, new_keys: bool) -> None:
    say_problems(plan.warnings)
    for line in plan.signed:
        print(f"sign {line}")
    if not plan.signed:
        print("no certificate to sign")
    for name in plan.members:
        keys = ", with private keys beside it" if new_keys else ""
        print(f"write {plan.directory / name / SCRIPT}{keys}")
    for name in plan.clients:
        keys = f" and {name}-key.pem" if name in plan.new_keys else ""
        print(f"client {name}: hand over {pki / plan.cluster.name / 'clients' / name}.pem{keys}")
    sys.stdout.flush()


def _print_how_to_apply(done: "Renewed", new_keys: bool) -> None:
    restart = " restarts etcd, so one member at a time, and" if new_keys else ""
    print(f"""
Next:
  1. Copy each folder of {done.directory} to its member, and run there as root:
       sh apply.sh
     It{restart} says "done" once etcd serves the new certificates. Running it twice does no harm.
  2. Build with --force, so that new machines and out/{done.cluster.name}/client get them too.""")
