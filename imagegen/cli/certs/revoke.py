"""``imagegen certs revoke``: a client refused from now on."""

import sys
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
    from imagegen.day2.revoke import Revoked


def revoke(
    spec: SpecArgument,
    client: Annotated[list[str], typer.Option(help="Whose certificate; repeatable.")],
    dry_run: DryRunOption = False,
    directory: DirectoryOption = None,
    pki: PkiOption = PKI,
    output: OutputOption = OUT,
    templates: TemplatesOption = None,
    now: NowOption = None,
    ca_passphrase_file: PassphraseOption = None,
) -> None:
    """Refuse a client's certificate from now on, and write a script for each member."""
    from imagegen.build.load import load_specs
    from imagegen.build.options import Options
    from imagegen.day2 import revoke as revocation

    options = Options(
        now=parse_now(now),
        pki=pki,
        output=output,
        templates=templates,
        passphrase=read_passphrase(ca_passphrase_file),
    )
    [loaded] = load_specs([spec], options)
    plan = revocation.revoke(
        loaded,
        options,
        dict.fromkeys(client),
        directory=directory,
        announce=lambda plan: _print_revocation(plan, client),
        dry_run=dry_run,
    )
    if dry_run:
        print(DRY_RUN)
        return
    if plan.added:
        print(f"{options.pki / plan.cluster.name}: saved")
    print(f"{plan.directory}: written")
    _print_how_to_revoke(plan)


def _print_revocation(plan: "Revoked", clients: list[str]) -> None:
    say_problems(plan.warnings)
    for name in dict.fromkeys(clients):
        if name in plan.added:
            serials = ", ".join(f"{serial:x}" for serial in plan.added[name])
            print(f"revoke client {name}: {serials}")
        else:
            print(f"client {name} is revoked already")
    print(f"the list: {plan.cluster.crl_path} on every member, {plan.length} serials")
    for member in plan.cluster.members:
        print(f"write {plan.directory / member.name / SCRIPT}")
    sys.stdout.flush()


def _print_how_to_revoke(plan: "Revoked") -> None:
    print(f"""
Next:
  1. Copy each folder of {plan.directory} to its member, and run there as root:
       sh apply.sh
     One member at a time, the next when it says "done": where there is no list yet it sets
     ETCD_CLIENT_CRL_FILE and restarts etcd. From then on the list is only a file.
  2. Connections that stand are not looked at again; `sh apply.sh restart` ends them.
  3. The next `imagegen build --force` signs a new certificate with a new key under the
     same name, unless the spec drops the client; new machines get the list with it.""")
