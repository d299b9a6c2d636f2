"""etcd's settings, and the release they are for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from imagegen.etcd.variables import Version, check_combination, check_setting
from imagegen.etcd.versions import EXAMPLE_RELEASE, corrupts
from imagegen.spec.distributions import DISTRIBUTIONS, TOO_OLD, TOO_OLD_FOR_ANY
from imagegen.spec.draft import Draft, Path, PathProblem
from imagegen.spec.model import FRIENDLY, DataDisk, EtcdPlan, Install, own_settings


def distribution_problems(draft: Draft) -> Iterator[PathProblem]:
    """The distribution has a Python for first boot, and an etcd if its packages are used."""
    distribution = draft.get(str, "distribution") or ""
    install = draft.get(Install, "install")
    if distribution in TOO_OLD_FOR_ANY:
        yield PathProblem(
            ("distribution",),
            f"{distribution} has a Python older than 3.10, which first boot needs",
            f"use one of: {', '.join(DISTRIBUTIONS)}",
        )
    elif distribution in TOO_OLD and install and install.mode == "package":
        yield PathProblem(
            ("distribution",),
            f"{distribution} ships etcd {TOO_OLD[distribution]}, older than 3.4",
            "install an upstream release there, `install: {mode: release, ...}`, or use one of: "
            f"{', '.join(DISTRIBUTIONS)}",
        )


def pin_problems(draft: Draft) -> Iterator[PathProblem]:
    """A pinned etcd-server is a version, and one that keeps its data."""
    for path, package in draft.each(str, "install", "packages", int):
        name, _, pinned = package.partition("=")
        if name != "etcd-server" or not pinned:
            continue
        try:
            version = Version.parse(pinned)
        except ValueError:
            what, hint = (
                "pins etcd to something that is not a version",
                "such as etcd-server=3.5.16-4",
            )
            yield PathProblem(path, what, hint)
            continue
        if corrupts(version):
            what = f"etcd {pinned} corrupts data under load"
            yield PathProblem(path, what, "use 3.5.3 or newer (etcd-io/etcd#13766)")


def setting_problems(draft: Draft) -> Iterator[PathProblem]:
    """Each setting by itself means something to the etcd that the members run."""
    version = _version(draft)
    # Which etcd it is may not be known; a setting is then wrong if it is for all of them.
    may_be = [version] if version else list(map(Version.parse, (*_SHIPPED, EXAMPLE_RELEASE)))
    for path, value in draft.each(str, "etcd", "settings", str):
        found = [check_setting(str(path[-1]), value, version) for version in may_be]
        if all(found):
            for what, hint in found[-1]:
                yield PathProblem(path, what, hint)
    metrics_url = draft.get(str, "etcd", "metrics_url")
    if metrics_url and check_setting("ETCD_LISTEN_METRICS_URLS", metrics_url, may_be[-1]):
        yield PathProblem(
            ("etcd", "metrics_url"),
            f"{metrics_url} shows metrics to anyone who reaches it, or is not an address",
            "use http://127.0.0.1:2381, or https:// with the member's address",
        )


_SHIPPED = sorted(set(DISTRIBUTIONS.values()))


def _version(draft: Draft) -> Version | None:
    """The etcd whose settings apply; None if what decides that could not be read."""
    if any(distribution_problems(draft)):
        return None
    if version := draft.get(Version, "etcd", "version"):
        return version
    install = draft.get(Install, "install")
    if install is None or not draft.knows("etcd", "version") or not draft.knows("distribution"):
        return None
    try:
        return install.etcd_version(draft.get(str, "distribution"))
    except ValueError:
        return None  # a pin, which is reported


def combination_problems(draft: Draft) -> Iterator[PathProblem]:
    """The settings fit each other."""
    plan, version = draft.get(EtcdPlan, "etcd"), _version(draft)
    if plan is None:
        return
    if plan.client_port == plan.peer_port:
        yield PathProblem(
            ("etcd", "peer_port"), "is the client port too", "use two different ports"
        )
    if version is None:
        return
    for names, problem in check_combination({**plan.settings, **own_settings(plan)}, version):
        path = _place_of(names, plan)
        yield PathProblem(path, problem.what, problem.hint, problem.severity)


def _place_of(names: Iterable[str], plan: EtcdPlan) -> Path:
    for name in names:
        if name in plan.settings:
            return ("etcd", "settings", name)
        if name in FRIENDLY and getattr(plan, FRIENDLY[name]) is not None:
            return ("etcd", FRIENDLY[name])
    return ("etcd",)


def data_disk_problems(draft: Draft) -> Iterator[PathProblem]:
    """The data directory is on the data disk."""
    disk = draft.get(DataDisk, "data_disk")
    directory = draft.get(str, "etcd", "data_directory")
    if disk and directory and not directory.startswith(f"{disk.mount_point}/"):
        yield PathProblem(
            ("etcd", "data_directory"),
            f"{directory} is not below {disk.mount_point}, where the data disk is mounted",
            f"use {disk.mount_point}/data; a disk's own top directory holds lost+found",
        )
