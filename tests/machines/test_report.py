"""What the suite says at the end, and what it runs."""

import json
from dataclasses import replace

from .__main__ import rotation
from .cluster import Software
from .drill import DRILLS, Figures
from .report import Report, Trial
from .scenario import SCENARIOS


def test_the_table_ends_with_the_count() -> None:
    """A failure is in the table with its reason, and in the last line."""
    report = Report("trixie", order=7, seconds=99.5)
    report.members = [Figures("etcd-1", 70.1, 98.7, 72, {"install": 22.0})]
    report.quorum = 98.7
    report.trials = [Trial("form", True, 101.0, "1 member"), Trial("reboot", False, 60, "too late")]
    lines = report.as_table().splitlines()
    assert "etcd-1" in lines[1]
    assert "98.7 s" in lines[1]
    assert any(line.startswith("FAILED reboot") and "too late" in line for line in lines)
    assert lines[-1] == "1 passed, 1 failed"
    assert json.loads(report.as_json())["members"][0]["steps"] == {"install": 22.0}


def test_the_report_names_what_ran() -> None:
    """For each trial as it was found, and at the end once however many trials found it."""
    old = Software("Debian 13", "x86_64", "6.12", "257", "3.13", "25.1", "3.4.23", "/opt/etcd")
    new = replace(old, etcd="3.5.16")
    report = Report("trixie-amd64", order=7)
    report.trials = [
        Trial("release", True, 1, "", (old,)),
        Trial("upgraded", True, 1, "", (old, new)),
    ]
    *_, first, second, _, _ = report.as_table().splitlines()
    assert first == f"ran {old}"
    assert second == f"ran {new}"
    upgraded = json.loads(report.as_json())["trials"][1]
    assert [ran["etcd"] for ran in upgraded["ran"]] == ["3.4.23", "3.5.16"]


def test_every_trial_has_its_day() -> None:
    """In rotation none is left out, and none comes twice in a run."""
    names = [*DRILLS, *SCENARIOS]
    days = [rotation(names, 2, day) for day in range(739_000, 739_000 + len(names))]
    assert all(len(set(day)) == 2 for day in days)
    assert {name for day in days for name in day} == set(names)
    assert sorted(rotation(names, 99, 5)) == sorted(names)
    assert rotation(names, 0, 5) == []
