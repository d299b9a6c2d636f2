"""etcd's settings, and the release they are for."""

from __future__ import annotations

from collections.abc import Iterable

from imagegen.etcd.variables import Version, check_combination, check_setting
from imagegen.etcd.versions import corrupts
from imagegen.spec.distributions import DISTRIBUTIONS, TOO_OLD, TOO_OLD_FOR_ANY
from imagegen.spec.kinds import Path, Reader
from imagegen.spec.model import FRIENDLY, EtcdPlan, Spec, own_settings


def check_etcd(spec: Spec, reader: Reader) -> None:
    """etcd's settings fit its version and each other."""
    if spec.distribution in TOO_OLD_FOR_ANY:
        reader.error(
            ("distribution",),
            f"{spec.distribution} has a Python older than 3.10, which first boot needs",
            f"use one of: {', '.join(DISTRIBUTIONS)}",
        )
        return
    if (
        spec.distribution
        and spec.distribution in TOO_OLD
        and spec.install
        and spec.install.mode == "package"
    ):
        reader.error(
            ("distribution",),
            f"{spec.distribution} ships etcd {TOO_OLD[spec.distribution]}, older than 3.4",
            "install an upstream release there, `install: {mode: release, ...}`, or use one of: "
            f"{', '.join(DISTRIBUTIONS)}",
        )
        return
    plan = spec.etcd
    if plan is None or spec.install is None:
        return
    for index, package in enumerate(spec.install.packages or ()):
        name, _, pinned = (package or "").partition("=")
        if name == "etcd-server" and pinned:
            _check_pin(pinned, ("install", "packages", index), reader)
    try:
        version = spec.etcd_version
    except ValueError:
        return  # what settings there are depends on the pin, and that is reported
    if plan.client_port and plan.client_port == plan.peer_port:
        reader.error(("etcd", "peer_port"), "is the client port too", "use two different ports")
    for name, value in (plan.settings or {}).items():
        for what, hint in check_setting(name, value, version):
            reader.error(("etcd", "settings", name), what, hint)
    combined = dict(plan.settings or {}) | own_settings(plan)
    for names, problem in check_combination(combined, version):
        reader.add(_place_of(names, plan), problem.what, problem.hint, problem.severity)
    if plan.metrics_url and check_setting("ETCD_LISTEN_METRICS_URLS", plan.metrics_url, version):
        reader.error(
            ("etcd", "metrics_url"),
            f"{plan.metrics_url} shows metrics to anyone who reaches it, or is no address",
            "use http://127.0.0.1:2381, or https:// with the member's address",
        )


def _check_pin(pinned: str, path: Path, reader: Reader) -> None:
    try:
        version = Version.parse(pinned)
    except ValueError:
        reader.error(path, "pins etcd to what is no version", "such as etcd-server=3.5.16-4")
        return
    if corrupts(version):
        reader.error(
            path,
            f"etcd {pinned} corrupts data under load",
            "use 3.5.3 or newer (etcd-io/etcd#13766)",
        )


def _place_of(names: Iterable[str], plan: EtcdPlan) -> Path:
    for name in names:
        if name in (plan.settings or {}):
            return ("etcd", "settings", name)
        if name in FRIENDLY and getattr(plan, FRIENDLY[name]) is not None:
            return ("etcd", FRIENDLY[name])
    return ("etcd",)


def check_data_disk(spec: Spec, reader: Reader) -> None:
    """The data directory is on the data disk."""
    disk, plan = spec.data_disk, spec.etcd
    if disk is None or plan is None:
        return
    directory = plan.data_directory
    if directory and disk.mount_point and not directory.startswith(f"{disk.mount_point}/"):
        reader.error(
            ("etcd", "data_directory"),
            f"{directory} is not below {disk.mount_point}, where the data disk is mounted",
            f"use {disk.mount_point}/data; a disk's own top directory holds lost+found",
        )
