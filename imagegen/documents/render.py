"""From a cluster and its keys to the documents each member boots with.

What a document must say is first composed as plain data; a template lays it
out as text; the text is parsed back and compared with the data. A broken
string, the commonest fault of hand-made seeds, cannot leave this module.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import yaml

from imagegen._version import __version__
from imagegen.base.problems import ImagegenError
from imagegen.cluster.cluster import Cluster, Member, hex_id
from imagegen.documents import guest
from imagegen.documents.env_file import parse_env
from imagegen.documents.netconfig import network_config
from imagegen.documents.program import without_comments
from imagegen.documents.templates import Templates
from imagegen.media.iso_writer import DISC_LIMIT
from imagegen.media.nocloud import LABELS
from imagegen.pki.pem import crl_der, describe
from imagegen.spec.model import APPENDED, AptSource, Install
from imagegen.spec.yaml import LOADER

if TYPE_CHECKING:
    from imagegen.pki.model import MemberCredentials, Pki


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDocuments:
    """What one member boots with.

    With ``secrets`` embed, user-data holds its private keys; else they are
    in ``keys``, by the name each file has on the member, and nowhere else.
    ``bundle`` are the files first boot installs from, if it is to find them on
    the seed.
    """

    cluster: Cluster
    member: Member
    secrets: str
    keys: Mapping[str, str] = field(repr=False)
    user_data: str = field(repr=False)
    meta_data: str
    network_config: str
    bundle: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def folder(self) -> str:
        """Where the member's files are, below the cluster's directory."""
        return f"members/{self.member.name}"

    def files(self) -> dict[str, bytes]:
        """The documents under the names NoCloud looks for."""
        return {
            "user-data": self.user_data.encode(),
            "meta-data": self.meta_data.encode(),
            "network-config": self.network_config.encode(),
        }


def render_node(
    cluster: Cluster, member: Member, pki: Pki, templates: Templates, *, secrets: str = "embed"
) -> NodeDocuments:
    """The documents of one member.

    ``secrets`` says how its private keys reach it: ``embed`` in user-data,
    ``split`` on a disk of their own, ``external`` by means that are not ours.

    Raises:
        ImagegenError: a template is broken, or does not say what it must.
    """
    credentials = pki.members[member.name]
    config = cloud_config(cluster, member, credentials, pki, templates, secrets)
    extra = cluster.spec.extra_user_data
    user_data = templates.render(
        "user-data.yaml.j2",
        cluster=cluster,
        member=member,
        version=__version__,
        secrets=secrets,
        keys_label=guest.keys_label(member.instance_id),
        config={"users": [], "ssh_authorized_keys": []} | config,
        extra={key: extra.get(key, []) for key in APPENDED}
        | {"others": {key: value for key, value in extra.items() if key not in APPENDED}},
    )
    if not user_data.startswith("#cloud-config\n"):
        raise ImagegenError(
            "user-data.yaml.j2: the first line must be #cloud-config",
            hint="cloud-init ignores the whole document otherwise",
        )
    _compare("user-data.yaml.j2", _loaded("user-data.yaml.j2", user_data), merged(config, extra))

    meta = {"instance-id": member.instance_id, "local-hostname": member.name}
    meta_data = templates.render("meta-data.yaml.j2", cluster=cluster, member=member, meta=meta)
    _compare("meta-data.yaml.j2", _loaded("meta-data.yaml.j2", meta_data), meta)

    network = network_config(cluster.spec.network, member.plan)
    network_text = templates.render(
        "network-config.yaml.j2", cluster=cluster, member=member, network=network
    )
    _compare(
        "network-config.yaml.j2", _loaded("network-config.yaml.j2", network_text), network or {}
    )
    keys = {} if secrets == "embed" else private_keys(cluster, credentials)
    return NodeDocuments(
        cluster=cluster,
        member=member,
        secrets=secrets,
        keys={PurePosixPath(path).name: text for path, text in keys.items()},
        user_data=user_data,
        meta_data=meta_data,
        network_config=network_text,
    )


def private_keys(cluster: Cluster, credentials: MemberCredentials) -> dict[str, str]:
    """A member's private keys by where they belong on it; layouts with one credential have one."""
    paths = cluster.credential_paths
    return {
        paths.server_key: credentials.server.key_pem,
        paths.peer_key: credentials.peer.key_pem,
    }


def cloud_config(
    cluster: Cluster,
    member: Member,
    credentials: MemberCredentials,
    pki: Pki,
    templates: Templates,
    secrets: str,
) -> dict[str, Any]:
    """What the member's user-data must say, as cloud-init will load it."""
    spec = cluster.spec
    config: dict[str, Any] = {"hostname": member.name, "manage_etc_hosts": False}
    if spec.ssh_authorized_keys:
        config["ssh_authorized_keys"] = list(spec.ssh_authorized_keys)
    if spec.users:
        # Without "default" cloud-init would drop the image's own user.
        config["users"] = ["default", *(_user(user) for user in spec.users)]
    if spec.install.apt:
        config["apt"] = _apt(spec.install.apt)
    if spec.ntp:
        servers = {"servers": list(spec.ntp.servers), "pools": list(spec.ntp.pools)}
        config["ntp"] = {"enabled": True} | {key: value for key, value in servers.items() if value}
    config["write_files"] = _guest_files(cluster, member, credentials, pki, templates, secrets)
    unit = guest.FIRSTBOOT_UNIT
    name = unit.rpartition("/")[2]
    config["runcmd"] = [
        # Only a later generation finds these units loaded in their old form; a
        # reload is too dear on a slow machine to be done for nothing.
        [
            "sh",
            "-c",
            f"systemctl show -p NeedDaemonReload {name} etcd.service | grep -q yes "
            "&& systemctl daemon-reload; exit 0",
        ],
        # What `systemctl enable` would do, without its reload.
        ["ln", "-sfn", unit, f"/etc/systemd/system/multi-user.target.wants/{name}"],
        # runcmd has no `set -e`, and a failed one is never retried: it starts one
        # unit and does not wait for it.
        ["systemctl", "start", "--no-block", name],
    ]
    return config


def merged(ours: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Our cloud-config with the operator's appended; the spec has been checked for conflicts."""
    config = dict(ours)
    for key, value in extra.items():
        config[key] = [*ours.get(key, ()), *value] if key in APPENDED else value
    return config


def own_paths(cluster: Cluster) -> frozenset[str]:
    """Every file on a member that is ours to write, whatever the spec says else."""
    paths = cluster.credential_paths
    units = (guest.FIRSTBOOT_UNIT, guest.KEYS_UNIT, guest.ETCD_DROPIN)
    certificates = (paths.ca, paths.server, paths.peer_ca, paths.peer, cluster.crl_path)
    keys = (paths.server_key, paths.peer_key)
    ours = {*units, *certificates, *keys, guest.ETCD_DEFAULTS, "/etc/hosts"}
    if disk := cluster.spec.data_disk:
        ours.add(f"/etc/systemd/system/{guest.mount_unit(disk.mount_point)}")
    if cluster.spec.install.release_version:
        ours.add(guest.ETCD_UNIT)
    if apt := cluster.spec.install.apt:
        ours |= {path for source in apt.sources for path in _apt_source(source)}
    return frozenset(ours | {guest.PROGRAM, guest.CONFIG})


def _user(user: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": user.name, "shell": user.shell, "lock_passwd": True}
    if user.groups:
        entry["groups"] = list(user.groups)
    if user.sudo:
        entry["sudo"] = "ALL=(ALL) NOPASSWD:ALL"
    if user.ssh_authorized_keys:
        entry["ssh_authorized_keys"] = list(user.ssh_authorized_keys)
    return entry


def _apt(apt: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    for key, uri in (("primary", apt.mirror), ("security", apt.security_mirror)):
        if uri:
            entry[key] = [{"arches": ["default"], "uri": uri}]
    if entry:
        # Debian's images keep their sources.list otherwise, and the mirror is ignored.
        entry = {"preserve_sources_list": False, **entry}
    if apt.proxy:
        entry["proxy"] = apt.proxy
    return entry


def _apt_source(source: AptSource) -> dict[str, str]:
    """The files of a further package source: deb822, and the one key it is trusted for.

    Not cloud-init's `apt.sources`, which needs gnupg in the image.
    """
    key = f"/etc/apt/keyrings/{source.name}.asc"
    fields = {
        "Types": "deb",
        "URIs": source.uri,
        "Suites": source.suite,
        "Components": " ".join(source.components),
        "Signed-By": key,
    }
    text = "".join(f"{name}: {value}\n" for name, value in fields.items() if value)
    return {f"/etc/apt/sources.list.d/{source.name}.sources": text, key: source.key}


def _guest_files(
    cluster: Cluster,
    member: Member,
    credentials: MemberCredentials,
    pki: Pki,
    templates: Templates,
    secrets: str,
) -> list[dict[str, str]]:
    paths = cluster.credential_paths
    certificates = {
        paths.ca: pki.ca.certificate_pem,
        paths.server: credentials.server.certificate_pem,
        paths.peer_ca: pki.peer_ca.certificate_pem,
        paths.peer: credentials.peer.certificate_pem,
    }
    files = [_file(path, text, "0644") for path, text in certificates.items()]
    if secrets == "embed":
        keys = private_keys(cluster, credentials)
        files += [_file(path, text, "0600") for path, text in keys.items()]

    if pki.crl_pem:
        crl = base64.b64encode(crl_der(pki.crl_pem)).decode()
        files.append(_file(cluster.crl_path, crl, "0644") | {"encoding": "b64"})

    settings = cluster.settings(member, pki.peer_common_name, crl=pki.crl_pem is not None)
    text = templates.render("etcd.env.j2", cluster=cluster, member=member, settings=settings)
    _compare("etcd.env.j2", parse_env(text), settings)
    files.append(_file(guest.ETCD_DEFAULTS, text, "0644"))

    if cluster.spec.install.apt:
        for source in cluster.spec.install.apt.sources:
            files += [_file(path, text, "0644") for path, text in _apt_source(source).items()]

    hosts = _hosts(cluster, member)
    text = templates.render("hosts.j2", cluster=cluster, member=member, hosts=hosts)
    lines = {f"{address} {name}": None for address, names in hosts for name in names}
    _compare("hosts.j2", _parse_hosts(text), lines)
    files.append(_file("/etc/hosts", text, "0644"))

    context = {
        "cluster": cluster,
        "member": member,
        "disk": cluster.spec.data_disk,
        "finished": guest.finished(member.instance_id),
        "keys": _keys_arrive_at(cluster, member, secrets),
        "guest": SimpleNamespace(gate=guest.GATE, program=guest.PROGRAM, **ETCD_SERVICE),
        "written": _written(cluster),
    }
    for name, path, must in _units(cluster, member, secrets):
        text = templates.render(name, **context)
        _compare(name, _parse_unit(text), must)
        files.append(_file(path, text, "0644"))
    config = firstboot_config(cluster, member, _not_before(credentials), secrets)
    commented = templates.text("firstboot.py")
    program = without_comments(commented, name="firstboot.py", parts=parts_for(config))
    files.append(_file(guest.PROGRAM, program, "0755"))
    files.append(_file(guest.CONFIG, json.dumps(config, indent=1) + "\n", "0644"))
    return files


#: What the unit of a release is filled in with.
ETCD_SERVICE = {
    "etcd": guest.ETCD,
    "user": guest.ETCD_USER,
    "settings": guest.ETCD_DEFAULTS,
}


def _file(path: str, content: str, permissions: str) -> dict[str, str]:
    return {"path": path, "owner": "root:root", "permissions": permissions, "content": content}


def _units(cluster: Cluster, member: Member, secrets: str) -> list[tuple[str, str, dict[str, str]]]:
    """Unit templates, where they go, and what they must say whatever else they say."""
    dropin = {
        "Unit/ConditionPathExists": guest.GATE,
        "Service/ExecCondition": f"+{guest.PROGRAM} start-check",
        "Service/TimeoutStartSec": "infinity",
    }
    firstboot = {
        "Unit/ConditionPathExists": f"!{guest.finished(member.instance_id)}",
        "Service/ExecStart": f"{guest.PROGRAM} run",
    }
    units = [
        ("imagegen-firstboot.service.j2", guest.FIRSTBOOT_UNIT, firstboot),
        ("etcd-dropin.conf.j2", guest.ETCD_DROPIN, dropin),
    ]
    if secrets != "embed":
        watch = {"Path/Unit": guest.FIRSTBOOT_UNIT.rpartition("/")[2]}
        units.append(("imagegen-keys.path.j2", guest.KEYS_UNIT, watch))
    if cluster.spec.install.release_version:
        service = {
            "Service/Type": "notify",
            "Service/User": guest.ETCD_USER,
            "Service/EnvironmentFile": f"-{guest.ETCD_DEFAULTS}",
            "Service/ExecStart": guest.ETCD,
        }
        units.append(("etcd.service.j2", guest.ETCD_UNIT, service))
    if disk := cluster.spec.data_disk:
        dropin["Unit/RequiresMountsFor"] = disk.mount_point
        mount = {
            "Mount/What": f"/dev/disk/by-label/{disk.label}",
            "Mount/Where": disk.mount_point,
        }
        path = f"/etc/systemd/system/{guest.mount_unit(disk.mount_point)}"
        units.append(("data-disk.mount.j2", path, mount))
    return units


def _written(cluster: Cluster) -> list[str]:
    """Where etcd writes, if its unit may be the one that lets it write nowhere else."""
    if cluster.spec.install.mode == "package" or cluster.spec.install.pinned_packages:
        return []
    return [path for path in (cluster.data_directory, cluster.spec.etcd.wal_directory) if path]


def _keys_arrive_at(cluster: Cluster, member: Member, secrets: str) -> list[str]:
    """What appears on the member once its keys are there to be taken."""
    if secrets == "split":
        return [f"/dev/disk/by-label/{guest.keys_label(member.instance_id)}"]
    paths = cluster.credential_paths
    return list(dict.fromkeys((paths.server_key, paths.peer_key)))


def _hosts(cluster: Cluster, member: Member) -> list[tuple[str, tuple[str, ...]]]:
    # Not those that came in after it: its documents stay what they were.
    told = {other.name for other in cluster.initial_members(member)}
    names: dict[str, tuple[str, ...]] = {}
    for other in cluster.members:
        if other.name in told:
            names[str(other.plan.address)] = (other.name, *other.plan.dns_names)
    for entry in cluster.spec.hosts:
        address = str(entry.address)
        names[address] = (*names.get(address, ()), *entry.names)
    return list(names.items())


def firstboot_config(
    cluster: Cluster, member: Member, not_before: datetime, secrets: str
) -> dict[str, Any]:
    """What the first-boot program reads from member.json; holds no secret."""
    spec, paths = cluster.spec, cluster.credential_paths
    disk = spec.data_disk
    one_key = paths.server_key == paths.peer_key
    keys = [paths.server_key] if one_key else [paths.server_key, paths.peer_key]
    return {
        **identity_config(cluster, member),
        "addresses": [str(address) for address in member.advertised_addresses],
        "client_url": member.client_url,
        "peer_url": member.peer_url,
        "peer_listen": [str(member.peer_address), member.peer_port],
        "initial_cluster_state": cluster.initial_state(member),
        "others": [
            {"name": o.name, "member_id": hex_id(o.member_id), "peer_url": o.peer_url}
            for o in cluster.others(member)
        ],
        "data_dir": cluster.data_directory,
        "wal_dir": spec.etcd.wal_directory,
        "tls": {
            "peer_cert": paths.peer,
            "peer_key": paths.peer_key,
            "peer_ca": paths.peer_ca,
            "client_cert": paths.server,
            "client_key": paths.server_key,
            "client_ca": paths.ca,
        },
        "owner": guest.ETCD_USER,
        "keys": {
            "secrets": secrets,
            "disk": guest.keys_label(member.instance_id) if secrets == "split" else None,
            "unit": guest.KEYS_UNIT.rpartition("/")[2],
        },
        "owned": [{"path": path, "mode": "0400"} for path in keys],
        "install": install_config(spec.install),
        "not_before": _rfc3339(not_before),
        "bootstrap_until": _rfc3339(spec.bootstrap_until) if spec.bootstrap_until else None,
        "snapshot": _snapshot(cluster, member),
        "data_disk": disk
        and {
            "device": disk.device,
            "label": disk.label,
            "filesystem": "ext4",
            "mount_point": disk.mount_point,
            "unit": guest.mount_unit(disk.mount_point),
        },
        "after_boot": spec.after_boot,
        "address_timeout": 300,
        "clock_timeout": 120,
        "state_dir": guest.STATE_DIRECTORY,
        "gate": guest.GATE,
        "finished": guest.finished(member.instance_id),
        "console": guest.CONSOLE,
        "service": "etcd.service",
    }


def identity_config(cluster: Cluster, member: Member) -> dict[str, str]:
    """Who a member is, as the first-boot program reports it."""
    return {
        "cluster": cluster.name,
        "cluster_id": hex_id(cluster.cluster_id),
        "member": member.name,
        "member_id": hex_id(member.member_id),
        "instance_id": member.instance_id,
    }


def parts_for(config: Mapping[str, Any]) -> frozenset[str]:
    """Which parts of the first-boot program a member needs that has this configuration."""
    files = config["install"].get("files", [])
    needed = {
        "data_disk": config["data_disk"],
        "keys": config["keys"]["secrets"] != "embed",
        "packages": config["install"]["packages"] or any(file.get("package") for file in files),
        "release": files,
        "scrub": config["after_boot"] == "scrub",
        "snapshot": config["snapshot"],
    }
    return frozenset(name for name, wanted in needed.items() if wanted)


def install_config(install: Install) -> dict[str, Any]:
    """What the first-boot program has to know to install etcd, or to find it there."""
    minimum = install.minimum_version
    config: dict[str, Any] = {
        "mode": install.mode,
        "packages": list(install.apt_packages),
        "minimum_version": str(minimum) if minimum else None,
    }
    if install.mode == "release" and install.release:
        version, url = install.release.version, install.release.url
        config |= {"version": version}
        config["files"] = [
            {
                "name": f"etcd-v{version}-linux-{architecture}.tar.gz",
                "architecture": architecture,
                "sha256": sha256,
                "url": url.replace("{version}", version).replace("{architecture}", architecture),
            }
            for architecture, sha256 in install.release.sha256.items()
        ]
    elif install.mode == "bundle":
        config |= {"version": install.release_version, "discs": bundle_labels(install)}
        config["files"] = [
            {
                "name": file.name,
                "architecture": file.architecture,
                "sha256": file.sha256,
                "package": file.package,
            }
            for file in install.bundled
        ]
    return config


def bundle_labels(install: Install) -> list[str]:
    """Labels of the discs that may bring a bundle: a seed's two, and that of one of its own."""
    return [*LABELS, guest.bundle_label([file.sha256 for file in install.bundled])]


def _snapshot(cluster: Cluster, member: Member) -> dict[str, Any] | None:
    """What a member of the bootstrap begins with, if not empty; others get it from these."""
    restored = cluster.identity.restored
    if restored is None or cluster.joined(member):
        return None
    return {
        "file": guest.SNAPSHOT,
        "disk": guest.snapshot_label(restored.sha256) if restored.size <= DISC_LIMIT else None,
        "sha256": restored.sha256,
        "bump_revision": restored.bump_revision,
        "initial_cluster": cluster.initial_cluster(member),
        "token": cluster.token,
    }


def _rfc3339(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _not_before(credentials: MemberCredentials) -> datetime:
    """When the last of the member's certificates begins to be valid."""
    texts = {credentials.server.certificate_pem, credentials.peer.certificate_pem}
    return max(describe(text).not_before for text in texts)


# --- parsing back -------------------------------------------------------------------


def _loaded(name: str, text: str) -> Any:
    try:
        return yaml.load(text, Loader=LOADER) or {}  # noqa: S506  # a safe loader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        # Not the offending line: it may be one of a private key.
        line = f" in line {mark.line + 1} of its result" if mark else ""
        raise ImagegenError(
            f"does not render to YAML{line}", where=name, hint="pass each value through a filter"
        ) from None


def _compare(name: str, got: Any, meant: Mapping[str, Any]) -> None:
    """Every meant setting is there and equal; a user's template may add others."""
    if not isinstance(got, dict):
        raise ImagegenError("does not render to a mapping", where=name)
    for key, value in meant.items():
        if key not in got:
            raise ImagegenError(
                f"{key} is missing from what it renders to",
                where=name,
                hint="compare it with the shipped one: imagegen templates export DIR",
            )
        if key == "write_files":
            _compare_files(name, got[key], value)
        elif key == "runcmd" and isinstance(got[key], list):
            missing = [command for command in value if command not in got[key]]
            if missing:
                raise ImagegenError(f"runcmd lacks {missing[0]}", where=name)
        elif got[key] != value:
            raise ImagegenError(f"{key} is not what was meant: {got[key]!r}", where=name)


def _compare_files(name: str, got: Any, meant: list[dict[str, str]]) -> None:
    if not isinstance(got, list) or not all(isinstance(file, dict) for file in got):
        raise ImagegenError("write_files is no list of files", where=name)
    places = Counter(str(file.get("path")) for file in got)
    for file in meant:
        # Said without the contents, which may be a private key.
        path = file["path"]
        if file not in got:
            raise ImagegenError(f"write_files: {path} is missing or not what was meant", where=name)
        if places[path] > sum(other["path"] == path for other in meant):
            raise ImagegenError(f"write_files has {path} twice", where=name)


def _parse_unit(text: str) -> dict[str, str]:
    """``Section/Key`` to value for a unit without continuation lines; the last one wins."""
    section, settings = "", {}
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif "=" in line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            settings[f"{section}/{key.strip()}"] = value.strip()
    return settings


def _parse_hosts(text: str) -> dict[str, None]:
    """Each name with its address; an address may have names from several lines."""
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return {f"{words[0]} {name}": None for words in lines for name in words[1:]}
