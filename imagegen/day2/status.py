"""How a running cluster is: one look at every member, judged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from imagegen.live.findings import Report, judge
from imagegen.live.look import Subject, look
from imagegen.spec.model import Spec


def status(spec: Spec, pki: Path, *, clock: Callable[[], datetime]) -> Report:
    """Ask every member how it is, and judge what they say; nothing is changed, or kept.

    ``pki`` is the root of the stores. The store brings the client certificate to
    ask with, and what the cluster said before. ``clock`` tells the time, with
    which that of the members is compared. :func:`imagegen.live.findings.remember`
    keeps what was found, to be compared with next time.

    Raises:
        ImagegenError: nothing was ever built from this spec, or the store is damaged.
    """
    return status_of(Subject.of(spec, pki), clock=clock)


def status_of(subject: Subject, *, clock: Callable[[], datetime]) -> Report:
    """:func:`status`, for who looks again and again."""
    return judge(subject, look(subject, clock=clock), at=clock())
