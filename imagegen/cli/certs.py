"""``imagegen certs``: the certificates of a running cluster, from now to their end."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagegen.cli.shared import (
    NowOption,
    PassphraseOption,
    PkiOption,
    SpecArgument,
    TemplatesOption,
    parse_now,
    read_passphrase,
    say_problems,
)

if TYPE_CHECKING:
    from imagegen.build.build import LoadedSpec, Options
    from imagegen.day2.renew import Listed, Renewed
    from imagegen.day2.revoke import Revoked
    from imagegen.day2.rotate_ca import Rotating

app: typer.Typer = typer.Typer(
    help="List, renew and revoke certificates; replace a CA.", no_args_is_help=True
)

OutputOption = Annotated[Path, typer.Option("-o", "--output", help="Root of the artifacts.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
]
DirectoryOption = Annotated[
    Path | None, typer.Option("--directory", help="Where the members' scripts go.")
]


def _loaded(
    spec: Path, *, now: str | None, pki: Path, output: Path = Path("out"), **options: object
) -> "tuple[LoadedSpec, Options]":
    from imagegen.build.build import Options, load_specs

    chosen = Options(now=parse_now(now), pki=pki, output=output, **options)  # type: ignore[arg-type]  # by their names
    [loaded] = load_specs([spec], chosen)
    return loaded, chosen


@app.command("list")
def list_(
    spec: SpecArgument,
    pki: PkiOption = Path("pki"),
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Compare with the last build into this root."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    now: NowOption = None,
) -> None:
    """List every certificate of the store: names, serials, issuers, ends."""
    from imagegen.day2.renew import list_certificates
    from imagegen.store.store import Store

    loaded, options = _loaded(spec, now=now, pki=pki)
    name = loaded.spec.cluster
    stored = Store(pki, name).existing()
    listed = list_certificates(
        stored.pki, now=options.now, output=output / name if output else None
    )
    if as_json:
        print(json.dumps([item.to_json() for item in listed], indent=2))
    else:
        print("\n".join(_table(listed)))
    say_problems(stored.warnings)
    say_problems(problem for item in listed for problem in item.problems())


def _table(listed: "list[Listed]") -> list[str]:
    rows = [("CERTIFICATE", "COMMON NAME", "ENDS", "DAYS", "SERIAL", "ISSUER", "")]
    for item in listed:
        remarks = []
        if item.revoked:
            remarks.append(f"revoked {item.revoked:%Y-%m-%d}")
        if item.in_output is not None:
            remarks.append("as built" if item.in_output else "not in the output")
        rows.append(
            (
                item.name,
                item.common_name,
                f"{item.not_after:%Y-%m-%d}",
                str(item.days_left),
                f"{item.serial:x}",
                item.issuer,
                ", ".join(remarks),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


@app.command()
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
    pki: PkiOption = Path("pki"),
    output: OutputOption = Path("out"),
    templates: TemplatesOption = None,
    now: NowOption = None,
    ca_passphrase_file: PassphraseOption = None,
) -> None:
    """Sign certificates anew, and write a script for each member that puts them in place.

    All of them unless members or clients are named.
    """
    from imagegen.day2 import renew as renewal

    loaded, options = _loaded(
        spec,
        now=now,
        pki=pki,
        output=output,
        templates=templates,
        passphrase=read_passphrase(ca_passphrase_file),
    )
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
        print("nothing is done: --dry-run")
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
        print(f"write {plan.directory / name / 'apply.sh'}{keys}")
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


@app.command()
def revoke(
    spec: SpecArgument,
    client: Annotated[list[str], typer.Option(help="Whose certificate; repeatable.")],
    dry_run: DryRunOption = False,
    directory: DirectoryOption = None,
    pki: PkiOption = Path("pki"),
    output: OutputOption = Path("out"),
    templates: TemplatesOption = None,
    now: NowOption = None,
    ca_passphrase_file: PassphraseOption = None,
) -> None:
    """Refuse a client's certificate from now on, and write a script for each member."""
    from imagegen.day2 import revoke as revocation

    loaded, options = _loaded(
        spec,
        now=now,
        pki=pki,
        output=output,
        templates=templates,
        passphrase=read_passphrase(ca_passphrase_file),
    )
    plan = revocation.revoke(
        loaded,
        options,
        dict.fromkeys(client),
        directory=directory,
        announce=lambda plan: _print_revocation(plan, client),
        dry_run=dry_run,
    )
    if dry_run:
        print("nothing is done: --dry-run")
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
        print(f"write {plan.directory / member.name / 'apply.sh'}")
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


@app.command("rotate-ca")
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
    pki: PkiOption = Path("pki"),
    output: OutputOption = Path("out"),
    templates: TemplatesOption = None,
    now: NowOption = None,
    ca_passphrase_file: PassphraseOption = None,
) -> None:
    """Replace a CA of the running cluster in three steps; shows the step it is in."""
    from imagegen.base.problems import ImagegenError
    from imagegen.day2 import rotate_ca as rotation
    from imagegen.pki.model import CLIENT_CA, PEER_CA

    if peer and client:
        raise ImagegenError("--peer and --client exclude each other", hint="one after the other")
    loaded, options = _loaded(
        spec,
        now=now,
        pki=pki,
        output=output,
        templates=templates,
        passphrase=read_passphrase(ca_passphrase_file),
    )
    plan = rotation.rotate(
        loaded,
        options,
        PEER_CA if peer else CLIENT_CA if client else None,
        go_on=go_on,
        offline=offline,
        directory=directory,
        announce=lambda plan: _print_rotation(plan, options.pki),
        dry_run=dry_run,
    )
    if dry_run:
        print("nothing is done: --dry-run")
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
        print(f"  {plan.directory / name / 'apply.sh'}{remark}")
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
