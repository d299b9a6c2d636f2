"""``imagegen diff``: what a build would change."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagegen.cli.inputs import parse_now, read_passphrase
from imagegen.cli.messages import say_problems
from imagegen.cli.options import (
    PKI,
    JsonOption,
    NowOption,
    PassphraseOption,
    PkiOption,
    SpecArgument,
    TemplatesOption,
)

if TYPE_CHECKING:
    from imagegen.build.changes import Change


def diff(
    spec: SpecArgument,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Root of what was built.")] = Path(
        "out"
    ),
    pki: PkiOption = PKI,
    templates: TemplatesOption = None,
    as_json: JsonOption = False,
    now: NowOption = None,
    ca_passphrase_file: PassphraseOption = None,
) -> None:
    """Show what a build would change, and whether running members would notice."""
    from imagegen.build.build import compare_cluster
    from imagegen.build.load import load_specs
    from imagegen.build.options import Options

    options = Options(
        now=parse_now(now),
        output=output,
        pki=pki,
        templates=templates,
        passphrase=read_passphrase(ca_passphrase_file),
    )
    [loaded] = load_specs([spec], options)
    say_problems(loaded.warnings)
    changes, removed = compare_cluster(loaded, options)
    if as_json:
        listed = [change.to_json() for change in changes]
        print(json.dumps({"changes": listed, "removed_members": removed}, indent=2))
        return
    for name in removed:
        print(f"{name}: no longer in the spec; see imagegen member remove")
    alike: dict[Change, list[str]] = {}
    for change in changes:
        alike.setdefault(replace(change, member=""), []).append(change.member)
    for effect in type(changes[0].effect) if changes else ():
        found = [(change, names) for change, names in alike.items() if change.effect is effect]
        if found:
            print(f"A running member: {effect}")
        for change, names in found:
            every = len(names) == len(loaded.spec.members)
            print("\n".join(_change_lines(change, "all" if every else ", ".join(names))))
    if not changes and not removed:
        print(f"{output / loaded.spec.cluster}: a build would change nothing")


def _change_lines(change: "Change", members: str) -> Iterator[str]:
    if "\n" in change.after:
        yield f"  {change.what} ({members})"
        yield from (f"    {line}" for line in change.after.splitlines())
    else:
        arrow = f"{change.before or 'none'} -> {change.after or 'none'}"
        yield f"  {change.what} ({members}): {arrow}"
