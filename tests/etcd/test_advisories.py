"""imagegen.etcd.advisories: the table, and what is said of a release by it."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest

from imagegen.base.problems import Problem, Severity
from imagegen.etcd.advisories import (
    ADVISORIES,
    AS_OF,
    CRL_IGNORED,
    END_OF_SUPPORT,
    STALE_AFTER,
    Advisory,
    first_with,
    lacking,
    release_problems,
    unsupported_since,
)
from imagegen.etcd.variables import SETTINGS, Version
from imagegen.etcd.versions import corrupts

#: A day on which the table is fresh, and 3.4 alone has no support.
THEN = datetime.combine(AS_OF, time(12), UTC)
FIXES = [(one, first) for one in ADVISORIES for first in one.fixed.since]


def said(text: str, **options: object) -> list[Problem]:
    """What is said of a release on that day."""
    return list(release_problems(Version.parse(text), **{"now": THEN, **options}))


def names(text: str, *settings: str) -> set[str]:
    return {one.name for one in lacking(Version.parse(text), settings)}


# --- the table ------------------------------------------------------------------------


def test_every_advisory_is_told_apart_and_has_a_source():
    """By its name; and what it means fits into a list within a sentence."""
    assert len({one.name for one in ADVISORIES}) == len(ADVISORIES)
    for one in ADVISORIES:
        assert one.source.startswith("github.com/etcd-io/etcd/"), one
        assert one.means, one
        assert not one.means.endswith("."), one
        assert not one.setting or one.setting in SETTINGS, one


@pytest.mark.parametrize("advisory", ADVISORIES, ids=lambda one: one.name)
def test_there_is_one_first_fixed_release_for_a_minor(advisory):
    """In the order of the minors, without a gap: what 3.5 and 3.7 got, 3.6 got too."""
    minors = [first.minor for first in advisory.fixed.since]
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert advisory.fixed.until is None


@pytest.mark.parametrize(
    ("advisory", "first"), FIXES, ids=[f"{one.name} {first}" for one, first in FIXES]
)
def test_the_release_before_the_fix_is_concerned(advisory: Advisory, first: Version):
    """And the first one with it is not, nor is a later one of that minor."""
    settings = {advisory.setting}
    assert not advisory.concerns(first, settings)
    assert not advisory.concerns(first._replace(patch=first.patch + 1), settings)
    if first.patch:
        assert advisory.concerns(first._replace(patch=first.patch - 1), settings)


def test_a_minor_that_got_no_fix_is_concerned_and_a_later_minor_is_not():
    """3.4 ended before the fixes of July 2026; 3.8 begins with them."""
    assert {"CVE-2026-73500", "CVE-2026-73499"} <= names("3.4.45")
    assert "CVE-2026-44283" not in names("3.4.45")
    assert names("3.8.0", CRL_IGNORED.setting) == set()


def test_some_need_a_setting():
    """Without it no member is concerned."""
    assert CRL_IGNORED.name not in names("3.5.16")
    assert CRL_IGNORED.name in names("3.5.16", CRL_IGNORED.setting)
    assert CRL_IGNORED.name in names("3.4.45", CRL_IGNORED.setting)


def test_what_is_refused_is_not_in_the_table_too():
    """The releases that corrupt data have a place of their own: all here goes on past them."""
    for one in ADVISORIES:
        assert not any(corrupts(first) for first in one.fixed.since)
        assert "13766" not in one.name


@pytest.mark.parametrize(
    ("version", "fixed"),
    [
        ("3.4.23", "3.5.33"),
        ("3.5.16", "3.5.33"),
        ("3.5.33", "3.5.33"),
        ("3.6.0", "3.6.14"),
        ("3.7.0", "3.7.1"),
        ("3.8.2", "3.8.2"),
    ],
)
def test_the_first_release_that_has_all_fixes(version, fixed):
    """Of its own minor, or of the next where that got them no more."""
    assert str(first_with(ADVISORIES, Version.parse(version))) == fixed


def test_support_ends_on_a_day():
    """On that day it has ended; a minor whose end nobody has announced has support."""
    for minor, end in END_OF_SUPPORT.items():
        version = Version(3, minor, 99)
        midnight = datetime.combine(end, time(), UTC)
        assert unsupported_since(version, midnight) == end
        assert unsupported_since(version, midnight - timedelta(seconds=1)) is None
    assert unsupported_since(Version(3, 7, 0), THEN) is None


# --- what is said ---------------------------------------------------------------------


def test_of_a_release_one_warning_says_what_it_lacks():
    """With each name once, what it means, and the one release that has it all."""
    [problem] = said("3.5.16", where="c.yaml: install.release.version")
    assert problem.severity is Severity.WARNING
    assert problem.where == "c.yaml: install.release.version"
    assert problem.hint == "use 3.5.33 or newer"
    for one in ADVISORIES:
        assert problem.what.count(one.name) == (one is not CRL_IGNORED)
        assert (problem.what.count(one.means) == 1) == (one is not CRL_IGNORED)


def test_of_a_release_with_all_fixes_nothing_is_said():
    """The newest of each minor with support."""
    for text in ("3.5.33", "3.5.35", "3.6.14", "3.7.1", "3.8.0"):
        assert said(text) == []


def test_of_a_release_without_support_a_warning_says_so():
    """With the way on; it is a warning of its own."""
    [lacks, ended] = said("3.4.45")
    assert "lacks fixes that 3.5.33 has" in lacks.what
    assert ended.severity is Severity.WARNING
    assert "3.4 has had no support from upstream since 2026-06-01" in ended.what
    assert "from 3.4 to 3.5" in ended.hint


def test_of_a_package_there_is_one_note():
    """It may have the fixes under the old number: the note says where to see that."""
    [note] = said("3.4.23", tracker="https://tracker.example.org")
    assert note.severity is Severity.NOTE
    assert "3.4 has had no support from upstream since 2026-06-01" in note.what
    assert "a distribution's 3.4.23 may have them" in note.what
    assert all(one.name in note.what for one in lacking(Version(3, 4, 23)))
    assert note.hint == "look at https://tracker.example.org"
    assert said("3.5.33", tracker="https://tracker.example.org") == []


def test_an_old_table_says_so():
    """From the day after its 180th on, whatever release was looked up, and only as a note."""
    for text, options in (("3.5.33", {}), ("3.5.33", {"tracker": "t"})):
        assert said(text, now=THEN + STALE_AFTER, **options) == []
        [note] = said(text, now=THEN + STALE_AFTER + timedelta(days=1), **options)
        assert note.severity is Severity.NOTE
        assert f"{AS_OF}, 181 days ago" in note.what
        assert "etcd/security/advisories" in note.hint
