"""The files that user-data writes to a member."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING

from imagegen.cluster.cluster import Cluster, Member
from imagegen.documents import guest
from imagegen.documents.env_file import parse_env
from imagegen.documents.firstboot_config import firstboot_config, not_before, parts_for
from imagegen.documents.program import without_comments
from imagegen.documents.readback import compare_rendered, parse_hosts, parse_unit
from imagegen.documents.templates import Templates
from imagegen.pki.pem import crl_der
from imagegen.spec.model import AptSource

if TYPE_CHECKING:
    from imagegen.pki.model import MemberCredentials, Pki

#: What the unit of a release is filled in with.
ETCD_SERVICE = {
    "etcd": guest.ETCD,
    "user": guest.ETCD_USER,
    "settings": guest.ETCD_DEFAULTS,
}


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


def private_keys(cluster: Cluster, credentials: MemberCredentials) -> dict[str, str]:
    """A member's private keys by where they belong on it; layouts with one credential have one."""
    paths = cluster.credential_paths
    return {
        paths.server_key: credentials.server.key_pem,
        paths.peer_key: credentials.peer.key_pem,
    }


def guest_files(
    cluster: Cluster,
    member: Member,
    credentials: MemberCredentials,
    pki: Pki,
    templates: Templates,
    secrets: str,
) -> list[dict[str, str]]:
    """The entries of ``write_files``, in their order.

    Raises:
        ImagegenError: a template is broken, or does not say what it must.
    """
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
    compare_rendered("etcd.env.j2", parse_env(text), settings)
    files.append(_file(guest.ETCD_DEFAULTS, text, "0644"))

    if cluster.spec.install.apt:
        for source in cluster.spec.install.apt.sources:
            files += [_file(path, text, "0644") for path, text in _apt_source(source).items()]

    hosts = _hosts(cluster, member)
    text = templates.render("hosts.j2", cluster=cluster, member=member, hosts=hosts)
    lines = {f"{address} {name}": None for address, names in hosts for name in names}
    compare_rendered("hosts.j2", parse_hosts(text), lines)
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
        compare_rendered(name, parse_unit(text), must)
        files.append(_file(path, text, "0644"))
    config = firstboot_config(cluster, member, not_before(credentials), secrets)
    commented = templates.text("firstboot.py")
    program = without_comments(commented, name="firstboot.py", parts=parts_for(config))
    files.append(_file(guest.PROGRAM, program, "0755"))
    files.append(_file(guest.CONFIG, json.dumps(config, indent=1) + "\n", "0644"))
    return files


def _file(path: str, content: str, permissions: str) -> dict[str, str]:
    return {"path": path, "owner": "root:root", "permissions": permissions, "content": content}


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
