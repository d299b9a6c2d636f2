"""What upstream has fixed since a release of etcd, and how long it supports each minor.

The table leaves older fixes out: a release that lacks one of them lacks some of these too,
and the remedy is the same. Releases that must not run at all are in :mod:`imagegen.etcd.versions`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from imagegen.base.problems import Problem, Severity
from imagegen.etcd.variables import Span, Version

#: When the table was last compared with its sources: etcd's changelogs, release branches
#: and release plans, and Go's vulnerability database.
AS_OF = date(2026, 9, 21)
#: A table that is older says so itself.
STALE_AFTER = timedelta(days=180)
#: Where upstream announces what may have come since.
NEWS = "https://github.com/etcd-io/etcd/security/advisories"

#: The first day without support from upstream, by minor: for 3.4 that of its last release
#: (CHANGELOG-3.4), for 3.5 a year after 3.7.0 (etcd.io, blog/2026/etcd-370-beta).
END_OF_SUPPORT: Mapping[int, date] = {4: date(2026, 6, 1), 5: date(2027, 7, 8)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """A fault of etcd that upstream has fixed, as it concerns a cluster made by imagegen."""

    #: What it is called where operators look it up.
    name: str
    #: What it lets happen, in words that fit into a list.
    means: str
    #: The releases that have the fix: the first of each minor, and those after it.
    fixed: Span
    source: str
    #: The variable without which no member is concerned; empty if all are.
    setting: str = ""

    def concerns(self, version: Version, settings: Collection[str]) -> bool:
        """Whether a member of this release with these variables has the fault."""
        return not self.fixed.covers(version) and (not self.setting or self.setting in settings)


_PERMISSIONS = "with authentication on, users get past their permissions"
_ADVISORY = "github.com/etcd-io/etcd/security/advisories/"

#: With HTTP at another port, the gRPC server accepts TLS connections itself, and before the
#: fix only the listener that it shares with HTTP looked at the list (server/embed/serve.go).
CRL_IGNORED = Advisory(
    name="GHSA-3wh4-j44w-pg92",
    means="revoked clients are let in at the port for gRPC",
    fixed=Span.parse("3.5.32,3.6.13,3.7.0"),
    source=_ADVISORY + "GHSA-3wh4-j44w-pg92",
    setting="ETCD_LISTEN_CLIENT_HTTP_URLS",
)

ADVISORIES: tuple[Advisory, ...] = (
    Advisory(
        name="CVE-2026-73500",
        means="anyone who reaches a port of a member can use up its memory",
        fixed=Span.parse("3.5.33,3.6.14,3.7.1"),
        source=_ADVISORY + "GHSA-6vch-q96h-7gc3",
    ),
    Advisory(
        name="etcd-io/etcd#20271",
        means="a defragmentation while a snapshot arrives can corrupt a member's data",
        fixed=Span.parse("3.4.38,3.5.23,3.6.5"),
        source="github.com/etcd-io/etcd/issues/20271",
    ),
    Advisory(
        name="etcd-io/etcd#20418",
        means="a read may return old data after a machine was paused",
        fixed=Span.parse("3.4.42,3.5.28,3.6.9"),
        source="github.com/etcd-io/etcd/issues/20418",
    ),
    CRL_IGNORED,
    Advisory(
        name="CVE-2026-33343",
        means=_PERMISSIONS,
        fixed=Span.parse("3.4.42,3.5.28,3.6.9"),
        source=_ADVISORY + "GHSA-rfx7-8w68-q57q",
    ),
    Advisory(
        name="CVE-2026-33413",
        means=_PERMISSIONS,
        fixed=Span.parse("3.4.42,3.5.28,3.6.9"),
        source=_ADVISORY + "GHSA-q8m4-xhhv-38mg",
    ),
    Advisory(
        name="CVE-2026-44283",
        means=_PERMISSIONS,
        fixed=Span.parse("3.4.44,3.5.30,3.6.11"),
        source=_ADVISORY + "GHSA-x35m-3gp4-4fh5",
    ),
    Advisory(
        name="CVE-2026-73499",
        means=_PERMISSIONS,
        fixed=Span.parse("3.5.33,3.6.14,3.7.1"),
        source=_ADVISORY + "GHSA-xg4h-6gfc-h4m8",
    ),
)


def lacking(version: Version, settings: Collection[str] = ()) -> tuple[Advisory, ...]:
    """What concerns a member of this release that has these ETCD_ variables."""
    return tuple(one for one in ADVISORIES if one.concerns(version, settings))


def first_with(advisories: Sequence[Advisory], version: Version) -> Version:
    """The first release from ``version`` on that has the fixes of all these advisories.

    It is one of the next minor where their own got no fix any more.
    """
    candidates = sorted({first for one in advisories for first in one.fixed.since} | {version})
    return next(
        candidate
        for candidate in candidates
        if candidate >= version and all(one.fixed.covers(candidate) for one in advisories)
    )


def unsupported_since(version: Version, now: datetime) -> date | None:
    """Since when upstream has not mended this release's minor; None while it still does."""
    end = END_OF_SUPPORT.get(version.minor)
    return end if end and end <= now.date() else None


def release_problems(
    version: Version,
    *,
    now: datetime,
    where: str = "",
    tracker: str | None = None,
    settings: Collection[str] = (),
) -> Iterator[Problem]:
    """What there is to know about a release that members run, or are to run.

    ``tracker`` is None for upstream's own release: what that lacks is a warning. For a
    package it says where to see which fixes the package has. Distributions bring fixes to
    an old version under a number of their own, so nothing is certain, and it is a note.

    ``where`` is the place of the warnings. A note has none: it is the same for every
    cluster with that package.
    """
    found, since = lacking(version, settings), unsupported_since(version, now)
    fixed = first_with(ADVISORIES, version)
    if tracker is None:
        if found:
            yield Problem(
                where=where,
                what=f"etcd {version} lacks fixes that {fixed} has: {_explained(found)}",
                hint=f"use {fixed} or newer",
                severity=Severity.WARNING,
            )
        if since:
            yield Problem(
                where=where,
                what=_unsupported(version, since),
                hint=f"use a newer minor, one after another: from {version.branch} to "
                f"{version.major}.{version.minor + 1} first",
                severity=Severity.WARNING,
            )
    elif found or since:
        # No place: the same for every cluster with that package.
        yield Problem(
            where="",
            what=_packaged(version, found, fixed, since),
            hint=f"look at {tracker}",
            severity=Severity.NOTE,
        )
    yield from _stale(now)


def _explained(advisories: Sequence[Advisory]) -> str:
    """What they mean, and by which names they go."""
    names: dict[str, list[str]] = {}
    for one in advisories:
        names.setdefault(one.means, []).append(one.name)
    return "; ".join(f"{means} ({', '.join(listed)})" for means, listed in names.items())


def _unsupported(version: Version, since: date) -> str:
    return f"etcd {version.branch} has had no support from upstream since {since}"


def _packaged(
    version: Version, found: Sequence[Advisory], fixed: Version, since: date | None
) -> str:
    said = [_unsupported(version, since)] if since else []
    if found:
        names = ", ".join(one.name for one in found)
        said.append(
            f"etcd {fixed} has upstream's fixes of {names}; a distribution's {version} may have "
            "them under its own number"
        )
    return "; ".join(said)


def _stale(now: datetime) -> Iterator[Problem]:
    age = now.date() - AS_OF
    if age > STALE_AFTER:
        yield Problem(
            where="",
            what=f"imagegen's list of etcd's faults was last brought up to date on {AS_OF}, "
            f"{age.days} days ago: newer faults are not in it",
            hint=f"take a newer imagegen, or look at {NEWS}",
            severity=Severity.NOTE,
        )
