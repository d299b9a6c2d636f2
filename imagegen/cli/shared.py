"""What commands share: options, the clock, the passphrase, and how problems are said."""

import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TextIO, TypeVar

import typer

from imagegen.base.problems import ImagegenError, Problem

Item = TypeVar("Item")


class Secrets(StrEnum):
    """How private keys reach the members."""

    EMBED = "embed"
    SPLIT = "split"
    EXTERNAL = "external"


def say_problems(problems: Iterable[Problem], *, file: TextIO | None = None) -> None:
    """Print problems, warnings too, to standard error or elsewhere; a shared hint once."""
    listed = list(problems)
    for index, problem in enumerate(listed):
        if listed[index + 1 : index + 2] and listed[index + 1].hint == problem.hint:
            problem = replace(problem, hint="")
        print(problem, file=file or sys.stderr)


def with_progress(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """The items, and from the second second on how many of them are done.

    Said on standard error if that is a terminal; erased while whoever takes an
    item prints of it.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    begun = time.monotonic()
    try:
        for done, item in enumerate(items, 1):
            sys.stderr.write("\r\x1b[K")
            yield item
            if done < total and time.monotonic() - begun > 1:
                sys.stdout.flush()
                bar = "#" * (30 * done // total)
                sys.stderr.write(f"[{bar:30}] {done} of {total} {what}")
                sys.stderr.flush()
    finally:
        sys.stderr.write("\r\x1b[K")


def parse_now(text: str | None) -> datetime:
    """The clock of this run: ``--now``, else SOURCE_DATE_EPOCH, else the time.

    Raises:
        ImagegenError: either is not a time.
    """
    from imagegen.spec.words import parse_instant

    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        if text:
            return parse_instant(text).replace(microsecond=0)
        if epoch:
            return datetime.fromtimestamp(int(epoch), tz=UTC)
    except (ValueError, OverflowError, OSError):
        name = "--now" if text else "SOURCE_DATE_EPOCH"
        hint = "RFC 3339, such as 2026-12-01T00:00:00Z" if text else "seconds since 1970"
        raise ImagegenError(f"{name}: {text or epoch!r} is not a time", hint=hint) from None
    return datetime.now(tz=UTC).replace(microsecond=0)


def read_passphrase(file: Path | None) -> bytes | None:
    """The CA keys' passphrase, from a file or from IMAGEGEN_CA_PASSPHRASE.

    Raises:
        ImagegenError: the file cannot be read, or is empty.
    """
    if file is None:
        value = os.environ.get("IMAGEGEN_CA_PASSPHRASE")
        return value.encode() if value else None
    try:
        passphrase = file.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise ImagegenError(f"cannot read: {error.strerror}", where=str(file)) from None
    if not passphrase:
        raise ImagegenError("holds no passphrase", where=str(file), hint="its first line counts")
    return passphrase


_SECONDS = {"s": 1, "m": 60, "h": 3600}


def parse_duration(text: str) -> int:
    """``90s``, ``5m`` or ``1h`` in seconds; wrong usage if it is none of them."""
    match = re.fullmatch(r"(\d{1,6})([smh])", text)
    if not match:
        raise typer.BadParameter(
            f"{text!r} is no duration such as 90s, 5m or 1h", param_hint="--wait"
        )
    return int(match[1]) * _SECONDS[match[2]]


# --- options that several commands share ---------------------------------------------

SpecArgument = Annotated[Path, typer.Argument(metavar="SPEC", help="Cluster spec.")]
PkiOption = Annotated[Path, typer.Option("--pki", help="Root of the stores, one per cluster.")]
TemplatesOption = Annotated[
    Path | None, typer.Option("--templates", help="Templates that replace shipped ones.")
]
NowOption = Annotated[str | None, typer.Option("--now", help="RFC 3339 time to use as now.")]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--ca-passphrase-file",
        help="Passphrase of the CA keys; or set IMAGEGEN_CA_PASSPHRASE.",
    ),
]


SecretsOption = Annotated[
    Secrets | None,
    typer.Option(
        help="How private keys reach the members; default: the spec, or what suits the target."
    ),
]
