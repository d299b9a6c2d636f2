"""What commands share: options, the clock, the passphrase, and how problems are said."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import typer

from imagegen.base.instants import parse_instant
from imagegen.base.problems import ImagegenError


def parse_now(text: str | None) -> datetime:
    """The clock of this run: ``--now``, else SOURCE_DATE_EPOCH, else the time.

    Raises:
        ImagegenError: either is not a time.
    """
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
