"""Options and arguments that several commands have.

Not with ``from __future__ import annotations``: as text, Typer would compile each
annotation twice in every run.
"""

from pathlib import Path
from typing import Annotated

import typer

from imagegen.spec.secrets import Secrets

PKI = Path("pki")
OUT = Path("out")

# --- what a command is about ----------------------------------------------------------

SpecArgument = Annotated[Path, typer.Argument(metavar="SPEC", help="Cluster spec.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The member's name.")]
DirectoryArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Where to.")]

# --- where things are -----------------------------------------------------------------

PkiOption = Annotated[Path, typer.Option("--pki", help="Root of the stores, one per cluster.")]
OutputOption = Annotated[Path, typer.Option("-o", "--output", help="Root of the artifacts.")]
DirectoryOption = Annotated[
    Path | None, typer.Option("--directory", help="Where the members' scripts go.")
]
TemplatesOption = Annotated[
    Path | None, typer.Option("--templates", help="Templates that replace shipped ones.")
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--ca-passphrase-file",
        help="Passphrase of the CA keys; or set IMAGEGEN_CA_PASSPHRASE.",
    ),
]

# --- what a build makes ---------------------------------------------------------------

TargetOption = Annotated[list[str] | None, typer.Option(help="What to package for; repeatable.")]
SecretsOption = Annotated[
    Secrets | None,
    typer.Option(
        help="How private keys reach the members; default: the spec, or what suits the target."
    ),
]
ReissueOption = Annotated[
    bool,
    typer.Option("--reissue", help="Sign misfitting certificates anew, for the same keys."),
]

# --- how a command goes about it ------------------------------------------------------

NowOption = Annotated[str | None, typer.Option("--now", help="RFC 3339 time to use as now.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]
PromotionOption = Annotated[
    str | None,
    typer.Option(
        "--wait",
        metavar="DURATION",
        help="Wait for the machine to promote its member, such as 10m.",
    ),
]
