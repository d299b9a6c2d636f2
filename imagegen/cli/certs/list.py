"""``imagegen certs list``: every certificate of a store."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagegen.cli.inputs import parse_now
from imagegen.cli.messages import say_problems
from imagegen.cli.options import (
    PKI,
    JsonOption,
    NowOption,
    PkiOption,
    SpecArgument,
)
from imagegen.cli.tables import print_table

if TYPE_CHECKING:
    from imagegen.day2.certificates import Listed

COLUMNS = ("CERTIFICATE", "COMMON NAME", "ENDS", "DAYS", "SERIAL", "ISSUER", "")


def list_(
    spec: SpecArgument,
    pki: PkiOption = PKI,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Compare with the last build into this root."),
    ] = None,
    as_json: JsonOption = False,
    now: NowOption = None,
) -> None:
    """List every certificate of the store: names, serials, issuers, ends."""
    from imagegen.build.load import load_specs
    from imagegen.build.options import Options
    from imagegen.day2.certificates import list_certificates
    from imagegen.store.store import Store

    options = Options(now=parse_now(now), pki=pki)
    [loaded] = load_specs([spec], options)
    name = loaded.spec.cluster
    stored = Store(pki, name).existing()
    listed = list_certificates(
        stored.pki, now=options.now, output=output / name if output else None
    )
    if as_json:
        print(json.dumps([item.to_json() for item in listed], indent=2))
    else:
        print_table(COLUMNS, map(_row, listed))
    say_problems(stored.warnings)
    say_problems(problem for item in listed for problem in item.problems())


def _row(item: "Listed") -> tuple[str, ...]:
    remarks = []
    if item.revoked:
        remarks.append(f"revoked {item.revoked:%Y-%m-%d}")
    if item.in_output is not None:
        remarks.append("as built" if item.in_output else "not in the output")
    return (
        item.name,
        item.common_name,
        f"{item.not_after:%Y-%m-%d}",
        str(item.days_left),
        f"{item.serial:x}",
        item.issuer,
        ", ".join(remarks),
    )
