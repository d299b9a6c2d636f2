"""``imagegen status``: how the cluster of a spec is, now or once it is well."""

import json
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from imagegen.base.problems import ImagegenError
from imagegen.cli.inputs import parse_duration
from imagegen.cli.messages import say_problems
from imagegen.cli.options import PKI, JsonOption, PkiOption, SpecArgument
from imagegen.cli.tables import print_table

if TYPE_CHECKING:
    from rich.table import Table

    from imagegen.live.findings import Report
    from imagegen.live.look import Subject

#: Seconds between two looks while waiting.
ASK_EVERY = 2.0
COLUMNS = (
    "member", "state", "tls", "id", "term", "index", "revision", "database", "version", "days left",
)  # fmt: skip


def status(
    spec: SpecArgument,
    wait: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Ask until healthy, at most 90s, 5m or 1h."),
    ] = None,
    as_json: JsonOption = False,
    pki: PkiOption = PKI,
) -> None:
    """Ask every member how it is, and name what is wrong. Exit status 0: healthy, 1: not.

    Members are asked at their client ports with the store's client certificate,
    and at their peer ports with a member's peer certificate, for what they know
    of the others (GET /members, which changes nothing); not where the store has
    no such key. etcd answers at a peer port only who comes from an address in
    that certificate, and notes in its log who else came; from elsewhere only
    the certificate it shows can be seen.

    Highest revision, raft index and members are kept in the store's
    cluster.json, to be compared with next time.
    """
    from imagegen.build.load import read_text
    from imagegen.live.findings import remember
    from imagegen.live.look import Subject
    from imagegen.spec.read import parse_spec

    seconds = None if wait is None else parse_duration(wait)
    # Not load_spec: what it imports may have expired, and that is for us to say.
    parsed, _ = parse_spec(read_text(spec), source=str(spec))
    subject = Subject.of(parsed, pki)
    say_problems(subject.stored.warnings)
    report = _look(subject) if seconds is None else _wait(subject, seconds)
    if as_json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        _show(report)
    try:
        remember(subject, report, pki)
    except ImagegenError as error:
        print(f"warning: not kept for next time: {error}", file=sys.stderr)
    if not report.healthy:
        raise typer.Exit(1)


def _now() -> datetime:
    return datetime.now(tz=UTC)


def _look(subject: "Subject") -> "Report":
    from imagegen.day2.status import status_of

    return status_of(subject, clock=_now)


def _wait(subject: "Subject", seconds: float) -> "Report":
    """Look until all is well or the time is over; the last look may end a little after it."""
    end = time.monotonic() + seconds
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.live import Live

        with Live(console=Console(stderr=True), transient=True) as live:
            for report in _looks(subject, end):
                live.update(_table(report))
        return report
    last = ""
    for report in _looks(subject, end):
        if (line := _line(report)) != last:
            print(f"{report.at:%H:%M:%SZ} {line}", file=sys.stderr, flush=True)
        last = line
    return report


def _looks(subject: "Subject", end: float) -> "Iterable[Report]":
    while True:
        report = _look(subject)
        yield report
        if report.healthy or time.monotonic() + ASK_EVERY > end:
            return
        time.sleep(ASK_EVERY)


def _line(report: "Report") -> str:
    """The state of everything, in one line."""
    states = ", ".join(f"{one.member.name} {report.state_of(one)}" for one in report.looks)
    kinds = ", ".join(dict.fromkeys(finding.kind for finding in report.findings))
    return f"{report.subject.cluster.name}: {states}; {kinds or 'healthy'}"


def _show(report: "Report") -> None:
    """The table and the verdict to standard output."""
    from imagegen.cluster.cluster import hex_id

    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(_table(report))
    else:
        print_table(COLUMNS, table(report))
    quorum, cluster = report.quorum, report.subject.cluster
    verdict = "healthy" if report.healthy else "not healthy"
    print(
        f"{cluster.name}: {verdict}; cluster ID {hex_id(report.subject.record.cluster_id)}, "
        f"{quorum.answering} of {quorum.voters} voting members answer, {quorum.needed} needed"
    )
    say_problems((*report.findings, *report.notes), file=sys.stdout)


def _table(report: "Report") -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table

    shown = Table(*COLUMNS, box=SIMPLE, title=_title(report))
    for row in table(report):
        shown.add_row(*row)
    return shown


def _title(report: "Report") -> str:
    errors = len(report.findings)
    return f"{report.subject.cluster.name} at {report.at:%H:%M:%SZ}: " + (
        f"{errors} problems" if errors else "healthy"
    )


def table(report: "Report") -> Iterable[tuple[str, ...]]:
    """One row a member, in the order of ``COLUMNS``; days left of server and peer certificate."""
    from imagegen.cluster.cluster import hex_id
    from imagegen.live.findings import size_text

    for one in report.looks:
        status = one.status
        days = (report.days_left(one.shown), report.days_left(one.peer.shown if one.peer else ()))
        yield (
            one.member.name,
            report.state_of(one),
            report.tls_of(one),
            *(
                (
                    hex_id(status.member_id),
                    str(status.raft_term),
                    str(status.raft_index),
                    str(status.revision),
                    size_text(status.db_size),
                    status.version,
                )
                if status
                else ("-",) * 6
            ),
            "/".join("-" if left is None else str(left) for left in days),
        )
