"""Which etcd may run, and which may follow on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from imagegen.etcd.variables import Version

#: What hints and the commented spec show: a release of the newest line of upstream's.
EXAMPLE_RELEASE = "3.7.3"

#: Under load these lose data without a word (CHANGELOG-3.5, etcd-io/etcd#13766).
CORRUPTING = (Version(3, 5, 0), Version(3, 5, 2))

#: What all members must run at least before one goes to the next minor: older ones
#: leave members behind that the next cannot read (etcd.io, upgrade_3_6 and upgrade_3_7).
BEFORE_LEAVING: Mapping[int, Version] = {5: Version(3, 5, 32), 6: Version(3, 6, 11)}


def parse_release(text: str) -> Version:
    """An etcd version somebody wants to run; a branch, ``3.5``, leaves the patch open.

    Raises:
        ValueError: it is none, or one that corrupts data.
    """
    version = Version.parse(text)
    if text.strip().lstrip("v") != version.branch and corrupts(version):
        raise ValueError("3.5.0 to 3.5.2 corrupt data under load")
    return version


def corrupts(version: Version) -> bool:
    """Whether that release is one of those that lose data."""
    return CORRUPTING[0] <= version <= CORRUPTING[1]


def hop_problems(running: Mapping[str, Version], new: Version) -> Iterator[tuple[str, str]]:
    """Why ``new`` must not join the members that run; each with what to do instead."""
    if corrupts(new):
        yield f"etcd {new} corrupts data under load", "use 3.5.3 or newer, best the latest"
    for name, version in running.items():
        if corrupts(version):
            yield f"{name} runs etcd {version}, which corrupts data under load", "upgrade it first"
        if version.minor > new.minor:
            yield (
                f"{name} runs etcd {version}; {new} is an older minor",
                "etcd does not go back while the cluster is at the newer minor",
            )
        yield from _leap_problems(name, version, new)


def upgrade_problems(
    running: Mapping[str, Version], cluster: Version, new: Version
) -> Iterator[tuple[str, str]]:
    """Why the members that run must not go over to ``new``, one after another.

    ``cluster`` is the version they have agreed on: it rises with the last member, and
    with it the way back to the minor before is shut.
    """
    if corrupts(new):
        yield f"etcd {new} corrupts data under load", "use 3.5.3 or newer, best the latest"
    if new.minor < cluster.minor:
        yield (
            f"the cluster is at {cluster.branch} by now, and {new} would not start",
            "etcd's downgrade guide for that pair of minors, or a snapshot from before",
        )
        return
    for name, version in running.items():
        yield from _leap_problems(name, version, new)


def _leap_problems(name: str, version: Version, new: Version) -> Iterator[tuple[str, str]]:
    """Why a newer minor must not follow on a member's version."""
    if new.minor > version.minor + 1:
        yield (
            f"{name} runs etcd {version}; {new} is more than one minor ahead",
            f"upgrade every member to {version.major}.{version.minor + 1} first",
        )
    elif new.minor == version.minor + 1 and version < (
        least := BEFORE_LEAVING.get(version.minor, version)
    ):
        yield (
            f"{name} runs etcd {version}; before {new.branch} it must run {least}",
            f"upgrade every member to {least} or a later {version.branch} first",
        )
