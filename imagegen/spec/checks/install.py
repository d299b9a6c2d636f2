"""Where etcd comes from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from imagegen.etcd.variables import Version
from imagegen.spec.kinds import Path, Reader
from imagegen.spec.model import Install, Spec

#: What means nothing in a mode, and why.
NOT_IN_MODE: Mapping[str, tuple[tuple[str, ...], str]] = {
    "package": (("release", "bundle"), "packages come from the package sources"),
    "release": (("packages", "bundle"), "etcd is downloaded; `extra_packages` is for the rest"),
    "bundle": (
        ("packages", "extra_packages", "apt", "release"),
        "nothing is fetched; list the package's file under `bundle`",
    ),
    "preinstalled": (
        ("packages", "extra_packages", "release", "bundle"),
        "nothing is installed; put it into the image",
    ),
}


def check_install(spec: Spec, reader: Reader) -> None:
    """What is given fits the mode."""
    plan = spec.install
    if plan is None or plan.mode is None:
        return
    names, why = NOT_IN_MODE[plan.mode]
    default = Install()
    for name in names:
        if ("install", name) in reader.seen and getattr(plan, name) != getattr(default, name):
            reader.error(("install", name), f"means nothing in mode {plan.mode}", why)
    if plan.mode == "release":
        _check_release(plan, reader)
    elif plan.mode == "bundle":
        _check_bundle(plan, reader)
    version = plan.release_version
    if version and spec.etcd and spec.etcd.version and str(spec.etcd.version) != version:
        reader.error(
            ("etcd", "version"), f"the release is {version}", "remove this: it follows from that"
        )
    named = [source.name for source in (plan.apt.sources or () if plan.apt else ()) if source]
    for index, name in enumerate(named):
        if name in named[:index]:
            place = ("install", "apt", "sources", index, "name")
            reader.error(place, f"{name} is another source's name", "give each its own")


def _check_release(plan: Install, reader: Reader) -> None:
    path: Path = ("install", "release")
    release = plan.release
    if release is None:
        if path not in reader.seen:
            reader.error(
                ("install",),
                "mode release needs `release`, with `version` and `sha256`",
                "download the archive to a place you trust, and: imagegen pin FILE",
            )
        return
    digests = [seen for seen in reader.seen if seen[:3] == (*path, "sha256")]
    if len(digests) == 1 and release.sha256 == {}:
        reader.error((*path, "sha256"), "names no architecture", "amd64, arm64 or both")
    if release.url:
        names = set(re.findall(r"\{(.*?)\}", release.url))
        for name in sorted(names - {"version", "architecture"}):
            reader.error(
                (*path, "url"), f"{{{name}}} is not known", "use {version} and {architecture}"
            )
        if "@" in release.url.split("/")[2]:
            reader.error(
                (*path, "url"),
                "holds a user name or a password",
                "it would be on every console; serve the archive to whoever asks, it is no secret",
            )
        if len(release.sha256 or ()) > 1 and "architecture" not in names:
            reader.error(
                (*path, "url"),
                "one archive cannot have the digests of two",
                "say {architecture} where the archives' names differ",
            )
    _check_arm(release.version, release.sha256 or (), (*path, "sha256"), reader)


def _check_arm(version: str | None, built: Iterable[str], path: Path, reader: Reader) -> None:
    if version and "arm64" in built and Version.parse(version).minor < 5:
        reader.error(
            path, f"upstream's etcd {version} does not start on arm64", "use 3.5 or newer there"
        )


def _check_bundle(plan: Install, reader: Reader) -> None:
    path: Path = ("install", "bundle")
    files = plan.bundled
    if not plan.bundle:
        if not any(seen[:2] == path for seen in reader.seen):
            reader.error(
                ("install",),
                "mode bundle needs `bundle`, the files that are to travel on the seed",
                "an archive or packages; `imagegen pin FILE...` prints the lines",
            )
        return
    names = [file.name for file in files]
    for index, name in enumerate(names):
        if name in names[:index]:
            reader.error((*path, index), f"{name} is listed twice", "keep one")
    versions = {file.release for file in files}
    if len(versions) > 1:
        reader.error(
            path,
            "archives of one release, or packages; not several releases, nor both",
            f"there are: {', '.join(sorted(names))}",
        )
    elif versions == {None} and not any(name.startswith("etcd-server_") for name in names):
        reader.error(path, "no package brings etcd", "add etcd-server_VERSION_ARCHITECTURE.deb")
    for version in versions - {None}:
        _check_arm(version, [file.architecture for file in files], path, reader)
