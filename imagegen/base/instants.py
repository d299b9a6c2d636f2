"""Instants as text, in RFC 3339."""

from __future__ import annotations

from datetime import UTC, datetime


def format_instant(instant: datetime) -> str:
    """In UTC and whole seconds, such as ``2026-12-01T00:00:00Z``."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_instant(text: str) -> datetime:
    """RFC 3339 with an offset, as UTC.

    Raises:
        ValueError: it is not, or no year from 1 to 9999 is left in UTC.
    """
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("the offset from UTC is missing")
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("in UTC that is before year 1 or after year 9999") from None
