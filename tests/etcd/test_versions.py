"""Which etcd may run, and which may follow on it."""

from __future__ import annotations

import pytest

from imagegen.etcd.variables import Version
from imagegen.etcd.versions import corrupts, hop_problems, parse_release, upgrade_problems


@pytest.mark.parametrize(
    ("running", "new", "words"),
    [
        ("3.4.23", "3.5.16", None),
        ("3.5.16", "3.5.30", None),
        ("3.5.30", "3.5.16", None),
        ("3.5.32", "3.6.1", None),
        ("3.6.11", "3.7.0", None),
        ("3.4.23", "3.6.11", "more than one minor"),
        ("3.5.31", "3.6.11", "must run 3.5.32"),
        ("3.6.10", "3.7.1", "must run 3.6.11"),
        ("3.5.16", "3.4.45", "older minor"),
        ("3.4.23", "3.5.2", "corrupts data"),
        ("3.5.1", "3.5.16", "a runs etcd 3.5.1, which corrupts"),
    ],
)
def test_hops(running, new, words):
    """One minor at a time, from a patch level that is ready for it, and never to a corrupting one.

    The rules are those of etcd.io's upgrade guides for 3.6 and 3.7.
    """
    problems = list(hop_problems({"a": Version.parse(running)}, Version.parse(new)))
    assert bool(problems) is bool(words)
    if words:
        assert any(words in what for what, _ in problems)
        assert all(hint for _, hint in problems)


@pytest.mark.parametrize(
    ("running", "cluster", "new", "words"),
    [
        ("3.5.16", "3.5.0", "3.5.33", None),
        ("3.5.33", "3.5.0", "3.5.16", None),
        ("3.4.23", "3.4.0", "3.5.33", None),
        # One member has gone ahead and comes back: the cluster has not risen yet.
        ("3.5.33", "3.4.0", "3.4.45", None),
        ("3.5.33", "3.5.0", "3.4.45", "the cluster is at 3.5 by now"),
        # A release that corrupts is left, not waited for.
        ("3.5.1", "3.5.0", "3.5.33", None),
        ("3.5.1", "3.5.0", "3.6.11", "must run 3.5.32"),
        ("3.5.16", "3.5.0", "3.5.2", "corrupts data"),
        ("3.5.31", "3.5.0", "3.6.11", "must run 3.5.32"),
        ("3.5.32", "3.5.0", "3.6.11", None),
        ("3.4.45", "3.4.0", "3.6.11", "more than one minor"),
    ],
)
def test_upgrades(running, cluster, new, words):
    """Forward one minor at a time; back within a minor, or until the cluster's version rises."""
    versions = {"a": Version.parse(running)}
    problems = list(upgrade_problems(versions, Version.parse(cluster), Version.parse(new)))
    assert bool(problems) is bool(words), problems
    if words:
        assert any(words in what for what, _ in problems)
        assert all(hint for _, hint in problems)


def test_every_member_counts():
    """One that lags behind is enough to say no, and it is named."""
    running = {"a": Version(3, 5, 33), "b": Version(3, 5, 16)}
    [(what, hint)] = hop_problems(running, Version(3, 6, 12))
    assert what.startswith("b runs")
    assert "3.5.32" in hint


def test_releases_that_corrupt():
    """Exactly 3.5.0 to 3.5.2; a branch alone says nothing of a patch level."""
    assert [p for p in range(6) if corrupts(Version(3, 5, p))] == [0, 1, 2]
    assert parse_release("3.5") == (3, 5, 0)
    assert parse_release("3.5.3") == (3, 5, 3)
    for text in ("3.5.0", "3.5.2", "3.5.1+ds-1"):
        with pytest.raises(ValueError, match="corrupt"):
            parse_release(text)
