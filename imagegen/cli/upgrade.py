"""``imagegen upgrade``: another release for a running cluster."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagegen.cli.shared import (
    NowOption,
    PkiOption,
    SpecArgument,
    TemplatesOption,
    parse_now,
    say_problems,
)

if TYPE_CHECKING:
    from imagegen.day2.upgrade import Upgrade


def upgrade(
    spec: SpecArgument,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    directory: Annotated[
        Path | None, typer.Option("--directory", help="Where the members' scripts go.")
    ] = None,
    pki: PkiOption = Path("pki"),
    output: Annotated[Path, typer.Option("-o", "--output", help="Root of the artifacts.")] = Path(
        "out"
    ),
    templates: TemplatesOption = None,
    now: NowOption = None,
) -> None:
    """Write a script for each member that has it run the release the spec says now.

    First the members are asked what they run, for not every release may follow on it.
    """
    from imagegen.build.build import Options, load_specs
    from imagegen.day2.upgrade import upgrade as write_upgrade

    options = Options(now=parse_now(now), pki=pki, output=output, templates=templates)
    [loaded] = load_specs([spec], options)
    plan = write_upgrade(loaded, options, directory=directory, announce=_print, dry_run=dry_run)
    if dry_run:
        print("nothing is done: --dry-run")
        return
    print(f"{plan.directory}: written")
    _print_how_to_apply(plan)


def _print(plan: "Upgrade") -> None:
    say_problems(plan.warnings)
    print(f"to etcd {plan.version}; the cluster is at {plan.cluster_version.branch}")
    for name in plan.order:
        remark = "  (it leads: last)" if name == plan.leader else ""
        print(f"  {name} runs {plan.running[name]}{remark}")
    sys.stdout.flush()


def _print_how_to_apply(plan: "Upgrade") -> None:
    disc = ""
    if plan.cluster.spec.install.mode == "bundle":
        disc = "\n     First attach its new seed, or bundle.iso: imagegen build --force."
    print(f"""
Next:
  1. Save the cluster: imagegen snapshot save SPEC FILE
  2. Copy each folder of {plan.directory} to its member, and run there as root, one member
     at a time in the order above, the next when it says "done":
       sh apply.sh{disc}
     `sh apply.sh back` has the release started that ran before: within a minor, or as
     long as a member is left that runs the older one.
  3. Build with --force, so that new machines get the same release.""")
