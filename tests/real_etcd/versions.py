"""The etcd versions that the suite runs on, and which of its tests run when.

A plugin of pytest: every test of the suite takes the fixture ``etcd``, and ``--etcd`` says
on which versions it runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import pytest
import yaml

from imagegen.etcd.variables import Version
from tests.conftest import ROOT
from tests.releases import upstream

#: Debian's own, which come in packages: the release that has them.
PACKAGED = {"3.4": "debian-12", "3.5": "debian-13"}
_MINORS = sorted(
    (folder.name for folder in (ROOT / "tests/real_etcd/upstream").iterdir()), key=Version.parse
)
#: Upstream's, each with its whole version.
RELEASED = {upstream(m) if m in PACKAGED else m: upstream(m) for m in _MINORS}
#: All of them, oldest first: what follows `etcd-` in the name of a program.
VERSIONS = tuple(sorted((*PACKAGED, *RELEASED), key=Version.parse))
#: On these everything runs every day: Debian 13's, and the newest.
ALWAYS = ("3.5", VERSIONS[-1])
#: Of what runs on the others a day takes one part of so many.
PARTS = 8


def spec_for(etcd: str, text: str) -> str:
    """The spec in ``text`` with this etcd for its machines.

    A release is pinned by a digest that no archive has: nobody installs it here.
    """
    spec = yaml.safe_load(text)
    install: dict[str, Any] = spec.pop("install", {})
    if etcd in PACKAGED:
        spec["distribution"] = PACKAGED[etcd]
        install.pop("minimum_version", None)
    else:
        spec["distribution"] = "debian-13"
        release = {"version": RELEASED[etcd], "sha256": {"amd64": "0" * 64}}
        kept = {name: install[name] for name in ("extra_packages", "apt") if name in install}
        install = {**kept, "mode": "release", "release": release}
    if install:
        spec["install"] = install
    return str(yaml.safe_dump(spec, sort_keys=False))


@pytest.fixture(scope="module", params=VERSIONS)
def etcd(request: pytest.FixtureRequest) -> str:
    """The etcd that the members run; its programs are etcd-3.5, etcdctl-3.5 and so on."""
    return str(request.param)


# --- which of them run ----------------------------------------------------------------


def whose_turn(units: Iterable[tuple[str, str]], day: date) -> set[tuple[str, str]]:
    """Of pairs of version and case, those that run on a day.

    Of the versions that are not in ALWAYS each case runs on one day of PARTS in a row.
    """
    known = sorted(set(units))
    rotating = [unit for unit in known if unit[0] not in ALWAYS]
    return {unit for unit in known if unit[0] in ALWAYS} | set(rotating[_part(day) :: PARTS])


def _part(day: date) -> int:
    return day.toordinal() % PARTS


def which(text: str) -> str:
    """A value of ``--etcd``; today's date instead of the word."""
    if text == "today":
        return datetime.now(UTC).date().isoformat()
    if text != "all" and _day(text) is None and (wrong := set(text.split(",")) - set(VERSIONS)):
        raise argparse.ArgumentTypeError(
            f"{', '.join(sorted(wrong))}: not one of {', '.join(VERSIONS)}"
        )
    return text


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--etcd",
        type=which,
        default="all",
        metavar="WHICH",
        help=f"etcd versions for tests marked etcd: some of {','.join(VERSIONS)}; all; or today "
        f"(a date, such as 2026-12-01): {' and '.join(ALWAYS)} wholly, a part of the others",
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    chosen = config.getoption("--etcd")
    day = _day(chosen)
    if day is None:
        return f"etcd: {', '.join(VERSIONS) if chosen == 'all' else chosen}"
    others = ", ".join(version for version in VERSIONS if version not in ALWAYS)
    return (
        f"etcd: everything on {' and '.join(ALWAYS)}; part {_part(day) + 1} of {PARTS} of what "
        f"runs on {others} (--etcd {day})"
    )


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not to run; what shares a cluster is for one process of pytest-xdist."""
    units = {item: unit for item in items if (unit := _unit(item))}
    chosen = config.getoption("--etcd")
    if day := _day(chosen):
        running = whose_turn(units.values(), day)
    else:
        wanted = VERSIONS if chosen == "all" else chosen.split(",")
        running = {unit for unit in units.values() if unit[0] in wanted}
    for item, unit in units.items():
        item.add_marker(pytest.mark.xdist_group(" ".join(unit)))
    left_out = [item for item, unit in units.items() if unit not in running]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if units.get(item) in {None, *running}]


def _unit(item: pytest.Item) -> tuple[str, str] | None:
    """The version and what else says which cluster a test has; None for those without one."""
    if not isinstance(item, pytest.Function) or not item.get_closest_marker("etcd"):
        return None
    parameters: Mapping[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    if "etcd" not in parameters:
        return None
    # The fixture `lab` is a cluster that several tests share.
    case = str(parameters["lab"]) if "lab" in parameters else item.nodeid
    return str(parameters["etcd"]), case
