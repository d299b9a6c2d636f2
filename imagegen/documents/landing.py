"""What lands on a member: every path, what is put there, when, and by which setting.

One map for all who ask. Rendering takes owner and mode from it and adds the
content; building asks whether a spec puts two things at one path, and judging
asks the same of documents as they are.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from typing import Any

from imagegen.base.problems import Problem
from imagegen.cluster.cluster import Cluster
from imagegen.documents import guest


class Kind(Enum):
    """What a path is to be; a mount point is a directory too."""

    FILE = auto()
    DIRECTORY = auto()
    MOUNT_POINT = auto()


class Stage(IntEnum):
    """When it is put there, in order: a mount hides what was there before it.

    The first three are cloud-init's write_files, mounts and write_files with
    ``defer``, in the order of /etc/cloud/cloud.cfg in Debian 12 and 13. The
    others are first boot's (``run`` in cloud_init_templates/firstboot.py).
    """

    WRITTEN = auto()
    MOUNTED = auto()
    DEFERRED = auto()
    INSTALLED = auto()
    DATA_DISK = auto()
    DATA = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """One path on a member, and what is put there.

    ``why`` says what it is, in the operator's words. ``setting`` is the setting
    of the spec that says where it goes, ``folder_setting`` the one that says in
    which directory, if that is another; both are empty where none does.
    ``encoding`` is that of its content in user-data, as cloud-init calls it.
    """

    path: str
    why: str
    setting: str = ""
    folder_setting: str = ""
    kind: Kind = Kind.FILE
    stage: Stage = Stage.WRITTEN
    owner: str = "root:root"
    mode: str = "0644"
    encoding: str = ""

    def entry(self, content: str) -> dict[str, str]:
        """The entry of ``write_files`` that puts it there with this content."""
        entry = {
            "path": self.path,
            "owner": self.owner,
            "permissions": self.mode,
            "content": content,
        }
        return entry | {"encoding": self.encoding} if self.encoding else entry

    @property
    def told(self) -> str:
        """What it is and what puts it there, for a message."""
        return f"{self.why} ({self.setting})" if self.setting else self.why


def landings(cluster: Cluster) -> tuple[Landing, ...]:
    """Everything that may land on a member of the cluster, whichever way its keys travel."""
    spec = cluster.spec
    disk = spec.data_disk
    return (
        *files_of_user_data(cluster),
        *made_by_first_boot(
            data_directory=cluster.data_directory,
            wal_directory=spec.etcd.wal_directory,
            mount_point=disk.mount_point if disk else None,
            release=bool(spec.install.release_version),
        ),
        *_extra(spec.extra_user_data),
    )


def files_of_user_data(cluster: Cluster) -> Iterator[Landing]:
    """The files that user-data of the cluster's members may write, the operator's own apart."""
    spec = cluster.spec
    yield from _credentials(cluster)
    yield Landing(path=guest.ETCD_DEFAULTS, why="etcd's settings")
    for index, source in enumerate(spec.install.apt.sources if spec.install.apt else ()):
        setting = f"install.apt.sources[{index}]"
        yield Landing(path=guest.apt_source(source.name), why="a package source", setting=setting)
        yield Landing(path=guest.apt_key(source.name), why="its key", setting=setting)
    yield Landing(path=guest.HOSTS, why="the names of all members")
    yield Landing(path=guest.FIRSTBOOT_UNIT, why="the unit of first boot")
    yield Landing(path=guest.ETCD_DROPIN, why="what etcd's unit waits for")
    yield Landing(path=guest.KEYS_UNIT, why="the unit that waits for private keys")
    if spec.install.release_version:
        yield Landing(path=guest.ETCD_UNIT, why="etcd's unit")
    if disk := spec.data_disk:
        path = guest.unit_path(guest.mount_unit(disk.mount_point))
        yield Landing(path=path, why="the data disk's unit", setting="data_disk.mount_point")
    yield Landing(path=guest.PROGRAM, why="the first-boot program", mode="0755")
    yield Landing(path=guest.CONFIG, why="what the first-boot program is told")


#: The parts of a member's credentials: what each is, and the mode it is written with.
_CREDENTIALS = {
    "ca": ("the CA certificate", "0644"),
    "server": ("the server certificate", "0644"),
    "server_key": ("the server's private key", "0600"),
    "peer_ca": ("the peers' CA certificate", "0644"),
    "peer": ("the peer certificate", "0644"),
    "peer_key": ("the peer's private key", "0600"),
}


def _credentials(cluster: Cluster) -> Iterator[Landing]:
    names = cluster.spec.pki.files
    for part, (why, mode) in _CREDENTIALS.items():
        if cluster.one_credential and part.startswith("peer"):
            continue  # the same file serves both
        yield Landing(
            path=getattr(cluster.credential_paths, part),
            why=why,
            setting=f"pki.files.{part}" if getattr(names, part) else "pki.directory",
            folder_setting="pki.directory",
            mode=mode,
        )
    yield Landing(
        path=cluster.crl_path,
        why="the list of revoked client certificates",
        setting="pki.directory",
        encoding="b64",
    )


def made_by_first_boot(
    *, data_directory: str, wal_directory: str | None, mount_point: str | None, release: bool
) -> Iterator[Landing]:
    """What is there once first boot has run, beside the files of user-data."""
    later = Stage.INSTALLED
    yield Landing(
        path=guest.STATE_DIRECTORY,
        why="the directory of first boot",
        kind=Kind.DIRECTORY,
        stage=later,
    )
    yield Landing(path=guest.RESULT, why="how far first boot has come", stage=later)
    yield Landing(path=guest.GATE, why="the mark that lets etcd start", stage=later)
    yield Landing(path=guest.DATASOURCES, why="where cloud-init looks for seeds", stage=later)
    for unit in (guest.FIRSTBOOT_UNIT, guest.ETCD_UNIT):
        name = unit.rpartition("/")[2]
        yield Landing(path=guest.wanted(name), why=f"what starts {name}", stage=later)
    if release:
        yield Landing(path=guest.RELEASES, why="etcd's releases", kind=Kind.DIRECTORY, stage=later)
        for path in guest.PROGRAMS:
            yield Landing(path=path, why="a program of etcd's release", stage=later)
    if mount_point:
        yield Landing(
            path=mount_point,
            why="the data disk",
            setting="data_disk.mount_point",
            kind=Kind.MOUNT_POINT,
            stage=Stage.DATA_DISK,
        )
    for directory, why, name in (
        (data_directory, "etcd's data directory", "data_directory"),
        (wal_directory, "etcd's log", "wal_directory"),
    ):
        if directory:
            yield Landing(
                path=directory,
                why=why,
                setting=f"etcd.{name}",
                kind=Kind.DIRECTORY,
                stage=Stage.DATA,
                owner=f"{guest.ETCD_USER}:{guest.ETCD_USER}",
                mode="0700",
            )


def _extra(extra: Mapping[str, Any]) -> Iterator[Landing]:
    yield from written_by(extra, prefix="extra_user_data.", why="your own file")
    yield from mounted_by(extra, prefix="extra_user_data.")


def written_by(config: Mapping[Any, Any], *, prefix: str = "", why: str = "") -> Iterator[Landing]:
    """The files of a cloud-config's ``write_files``, whatever else that holds.

    ``prefix`` stands before the name of each setting; ``why`` is the setting's
    own name if it is empty. An entry that appends to an earlier one is the same
    file (cc_write_files opens it with mode "ab").
    """
    seen: set[str] = set()
    for index, entry in enumerate(_listed(config.get("write_files"))):
        if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
            continue
        path, setting = _absolute(entry["path"]), f"{prefix}write_files[{index}]"
        if path in seen and _is_true(entry.get("append")):
            continue
        seen.add(path)
        yield Landing(
            path=path,
            why=why or setting,
            setting=setting if why else "",
            stage=Stage.DEFERRED if _is_true(entry.get("defer")) else Stage.WRITTEN,
        )


def mounted_by(config: Mapping[Any, Any], *, prefix: str = "") -> Iterator[Landing]:
    """The mount points of a cloud-config's ``mounts``: the second word of each entry."""
    for index, entry in enumerate(_listed(config.get("mounts"))):
        if not isinstance(entry, list) or len(entry) < 2:
            continue
        where = entry[1]
        if isinstance(where, str) and where.startswith("/"):
            yield Landing(
                path=_absolute(where),
                why="a file system of your own",
                setting=f"{prefix}mounts[{index}]",
                kind=Kind.MOUNT_POINT,
                stage=Stage.MOUNTED,
            )


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _absolute(path: str) -> str:
    """A path as cloud-init resolves it, which runs in the root directory."""
    return "/" + posixpath.normpath(f"/{path}").strip("/")


def _is_true(value: object) -> bool:
    """As cloud-init's ``is_true``: text counts too."""
    return value is True or str(value).lower().strip() in ("true", "1", "on", "yes")


def clashes(found: Iterable[Landing]) -> Iterator[Problem]:
    """What cannot be as it is: two files at one path, a file as a directory, a hidden file.

    Each problem is at the setting that can be changed. What one change mends is
    said once, whatever number of paths it is about.
    """
    everything = list(found)
    files: dict[str, Landing] = {}
    for landing in everything:
        if landing.kind is not Kind.FILE:
            continue
        first = files.setdefault(landing.path, landing)
        if first is not landing:
            yield _two_files(first, landing)
    mounts = {one.path: one for one in everything if one.kind is Kind.MOUNT_POINT}
    below: dict[tuple[str, str], list[tuple[Landing, Landing]]] = {}
    for landing in everything:
        for directory in _directories(landing):
            if file := files.get(directory):
                at = _blamed(file, landing, folder=True)
                below.setdefault((at, directory), []).append((file, landing))
            mount = mounts.get(directory)
            if mount and mount is not landing and landing.stage < mount.stage:
                at = landing.folder_setting or landing.setting or mount.setting
                below.setdefault((at, directory), []).append((mount, landing))
    for (at, _), pairs in below.items():
        yield _below(at, pairs[0][0], [landing for _, landing in pairs])


def _directories(landing: Landing) -> Iterator[str]:
    """What must be a directory for it to be there."""
    path = landing.path
    if landing.kind is not Kind.FILE:
        yield path
    while path := path.rpartition("/")[0]:
        yield path


def _blamed(first: Landing, second: Landing, *, folder: bool = False) -> str:
    """The setting to change: the later of the two, if it is by a setting that it is there."""
    for landing in (second, first):
        if setting := (folder and landing.folder_setting) or landing.setting:
            return setting
    return ""


def _two_files(first: Landing, second: Landing) -> Problem:
    if second.setting.startswith("extra_user_data."):
        hint = (
            "write it once, or append to it with `append: true`"
            if first.setting.startswith("extra_user_data.")
            else "leave it out; see etcd.settings, hosts and pki in the spec, or change a template"
        )
    else:
        hint = "give each its own path"
    return Problem(
        where=_blamed(first, second),
        what=f"{second.path} would be two files: {first.told}, and {second.told}",
        hint=hint,
    )


def _below(at: str, upper: Landing, lower: list[Landing]) -> Problem:
    """A file where a directory is needed, or a mount over what was there before."""
    paths = [landing.path for landing in lower]
    listed = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    if upper.kind is Kind.FILE:
        return Problem(
            where=at,
            what=f"{upper.path} would be a file, {upper.told}, and a directory for {listed}",
            hint="give each its own path",
        )
    return Problem(
        where=at,
        what=f"{upper.told}, mounted at {upper.path}, would hide {listed}",
        hint=f"keep it outside {upper.path}, or mount that elsewhere",
    )
