"""The command line: the one caller of the library that prints, exits and reads the clock.

Whatever a command needs is imported inside its function: ``imagegen --help`` and
shell completion should not wait for cryptography and Jinja.
"""

import os
import sys
from typing import Annotated

import typer

from imagegen._version import __version__
from imagegen.base.problems import ImagegenError
from imagegen.cli.groups import Group, group_class
from imagegen.cli.messages import say_problems

COMMANDS: dict[str, str | Group] = {
    "init": "imagegen.cli.init:init",
    "build": "imagegen.cli.build:build",
    "render": "imagegen.cli.render:render",
    "check": "imagegen.cli.check:check",
    "diff": "imagegen.cli.diff:diff",
    "inspect": "imagegen.cli.inspect:inspect",
    "targets": "imagegen.cli.targets:targets",
    "status": "imagegen.cli.status:status",
    "upgrade": "imagegen.cli.upgrade:upgrade",
    "schema": "imagegen.cli.schema:schema",
    "pin": "imagegen.cli.pin:pin",
    "templates": Group(
        "The templates behind the documents.",
        {"export": "imagegen.cli.templates.export:export"},
    ),
    "packer": Group(
        "Golden images that a seed finishes.",
        {
            "export": "imagegen.cli.packer.export:export",
            "seed": "imagegen.cli.packer.seed:seed",
        },
    ),
    "certs": Group(
        "List, renew and revoke certificates; replace a CA.",
        {
            "list": "imagegen.cli.certs.list:list_",
            "renew": "imagegen.cli.certs.renew:renew",
            "revoke": "imagegen.cli.certs.revoke:revoke",
            "rotate-ca": "imagegen.cli.certs.rotate_ca:rotate_ca",
        },
    ),
    "member": Group(
        "Change who belongs to a running cluster.",
        {
            "replace": "imagegen.cli.member.replace:replace",
            "add": "imagegen.cli.member.add:add",
            "remove": "imagegen.cli.member.remove:remove",
        },
    ),
    "snapshot": Group(
        "Snapshots of a running cluster.",
        {"save": "imagegen.cli.snapshot.save:save"},
    ),
}

app = typer.Typer(
    name="imagegen",
    cls=group_class(COMMANDS),
    help="From one cluster spec to N self-configuring etcd members.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its tracebacks show local variables: keys among them
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line; the entry point of the ``imagegen`` program."""
    try:
        app()
    except ImagegenError as error:
        say_problems(error.problems)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted; what was finished is in place, nothing else", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has left; Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"imagegen {__version__}")
        raise typer.Exit


@app.callback()
def imagegen(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """From one cluster spec to N self-configuring etcd members."""
