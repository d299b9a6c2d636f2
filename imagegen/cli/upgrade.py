"""``imagegen upgrade``: another release for a running cluster."""

import sys
from typing import TYPE_CHECKING

from imagegen.cli.inputs import parse_now
from imagegen.cli.messages import DRY_RUN, say_problems
from imagegen.cli.options import (
    OUT,
    PKI,
    DirectoryOption,
    DryRunOption,
    NowOption,
    OutputOption,
    PkiOption,
    SpecArgument,
    TemplatesOption,
)
from imagegen.documents.names import BUNDLE_DISC

if TYPE_CHECKING:
    from imagegen.day2.upgrade import Upgrade


def upgrade(
    spec: SpecArgument,
    dry_run: DryRunOption = False,
    directory: DirectoryOption = None,
    pki: PkiOption = PKI,
    output: OutputOption = OUT,
    templates: TemplatesOption = None,
    now: NowOption = None,
) -> None:
    """Write a script for each member that has it run the release the spec says now.

    First the members are asked what they run, for not every release may follow on it.
    """
    from imagegen.build.load import load_specs
    from imagegen.build.options import Options
    from imagegen.day2.upgrade import upgrade as write_upgrade

    options = Options(now=parse_now(now), pki=pki, output=output, templates=templates)
    [loaded] = load_specs([spec], options)
    plan = write_upgrade(loaded, options, directory=directory, announce=_print, dry_run=dry_run)
    if dry_run:
        print(DRY_RUN)
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
        disc = f"\n     First attach its new seed, or {BUNDLE_DISC}: imagegen build --force."
    print(f"""
Next:
  1. Save the cluster: imagegen snapshot save SPEC FILE
  2. Copy each folder of {plan.directory} to its member, and run there as root, one member
     at a time in the order above, the next when it says "done":
       sh apply.sh{disc}
     `sh apply.sh back` has the release started that ran before: within a minor, or as
     long as a member is left that runs the older one.
  3. Build with --force, so that new machines get the same release.""")
