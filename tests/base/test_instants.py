"""Instants are written in UTC and read with any offset."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from imagegen.base.instants import format_instant, parse_instant


def test_an_instant_is_written_in_utc():
    """Whatever its own offset."""
    there = datetime(2026, 12, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert format_instant(there) == "2026-11-30T23:30:00Z"


def test_what_is_written_is_read_back():
    """To the second."""
    instant = datetime(2026, 12, 1, 23, 59, 59, tzinfo=UTC)
    assert parse_instant(format_instant(instant)) == instant


@pytest.mark.parametrize(
    "text", ["2026-12-01T00:00:00", "yesterday", "0001-01-01T00:00:00+14:00", "2026-12-01"]
)
def test_what_is_no_single_instant_is_refused(text):
    """Without an offset it is another instant in each place."""
    with pytest.raises(ValueError):  # noqa: PT011  # the cause is in the argument
        parse_instant(text)
