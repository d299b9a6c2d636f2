"""Where etcd comes from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from imagegen.etcd.variables import Version
from imagegen.spec.draft import Draft, Path, PathProblem
from imagegen.spec.model import Install, Release

#: What has no effect in a mode, and why.
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


def mode_problems(draft: Draft) -> Iterator[PathProblem]:
    """What is given has an effect in the mode, and what the mode needs is given."""
    mode = draft.get(str, "install", "mode")
    names, why = NOT_IN_MODE[mode] if mode else ((), "")
    for name in names:
        left_out = getattr(Install(), name)
        if draft.get(object, "install", name) not in (None, left_out):
            yield PathProblem(("install", name), f"has no effect when install.mode is {mode}", why)
    plan = draft.get(Install, "install")
    if plan is None:
        return
    if plan.mode == "release" and plan.release is None:
        yield PathProblem(
            ("install",),
            "mode release needs `release`, with `version` and `sha256`",
            "download the archive to a place you trust, and: imagegen pin FILE",
        )
    if plan.mode == "bundle":
        yield from _bundle_problems(plan)
    release, version = plan.release_version, draft.get(Version, "etcd", "version")
    if release and version and str(version) != release:
        yield PathProblem(
            ("etcd", "version"), f"the release is {release}", "remove this: it follows from that"
        )


def source_problems(draft: Draft) -> Iterator[PathProblem]:
    """Each package source has a name of its own."""
    named: set[str] = set()
    for path, name in draft.each(str, "install", "apt", "sources", int, "name"):
        if name in named:
            yield PathProblem(path, f"{name} is another source's name", "give each its own")
        named.add(name)


def release_problems(draft: Draft) -> Iterator[PathProblem]:
    """A release can be downloaded from its URL by each architecture."""
    release = draft.get(Release, "install", "release")
    if release is None or draft.get(str, "install", "mode") != "release":
        return
    path: Path = ("install", "release")
    if not release.sha256:
        yield PathProblem((*path, "sha256"), "names no architecture", "amd64, arm64 or both")
    names = set(re.findall(r"\{(.*?)\}", release.url))
    for name in sorted(names - {"version", "architecture"}):
        yield PathProblem(
            (*path, "url"), f"{{{name}}} is not known", "use {version} and {architecture}"
        )
    if "@" in release.url.split("/")[2]:
        yield PathProblem(
            (*path, "url"),
            "holds a user name or a password",
            "it would be on every console; serve the archive to whoever asks, it is not a secret",
        )
    if len(release.sha256) > 1 and "architecture" not in names:
        yield PathProblem(
            (*path, "url"),
            "one archive cannot have the digests of two",
            "say {architecture} where the archives' names differ",
        )
    yield from _arm_problems(release.version, release.sha256, (*path, "sha256"))


def _arm_problems(version: str, built: Iterable[str], path: Path) -> Iterator[PathProblem]:
    if "arm64" in built and Version.parse(version).minor < 5:
        what = f"upstream's etcd {version} does not start on arm64"
        yield PathProblem(path, what, "use 3.5 or newer there")


def _bundle_problems(plan: Install) -> Iterator[PathProblem]:
    """A bundle is one release, or packages that bring etcd."""
    path: Path = ("install", "bundle")
    if not plan.bundle:
        yield PathProblem(
            ("install",),
            "mode bundle needs `bundle`, the files that are to travel on the seed",
            "an archive or packages; `imagegen pin FILE...` prints the lines",
        )
        return
    names = [file.name for file in plan.bundle]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield PathProblem((*path, index), f"{name} is listed twice", "keep one")
    releases = {file.release for file in plan.bundle}
    if len(releases) > 1:
        yield PathProblem(
            path,
            "archives of one release, or packages; not several releases, nor both",
            f"there are: {', '.join(sorted(names))}",
        )
    elif releases == {None} and not any(name.startswith("etcd-server_") for name in names):
        yield PathProblem(
            path, "no package brings etcd", "add etcd-server_VERSION_ARCHITECTURE.deb"
        )
    for release in filter(None, releases):
        yield from _arm_problems(release, [file.architecture for file in plan.bundle], path)
