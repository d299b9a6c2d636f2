"""The files that user-data writes to a member."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING

from imagegen.base.problems import raise_errors
from imagegen.cluster.cluster import Cluster, Member
from imagegen.documents import guest
from imagegen.documents.env_file import parse_env
from imagegen.documents.firstboot_config import firstboot_config, not_before, parts_for
from imagegen.documents.landing import clashes, files_of_user_data
from imagegen.documents.program import without_comments
from imagegen.documents.readback import compare_rendered, parse_hosts, parse_unit
from imagegen.documents.templates import Templates
from imagegen.pki.pem import crl_der
from imagegen.spec.model import AptSource
from imagegen.spec.secrets import Secrets

if TYPE_CHECKING:
    from imagegen.pki.model import MemberCredentials, Pki

#: What the unit of a release is filled in with.
ETCD_SERVICE = {
    "etcd": guest.ETCD,
    "user": guest.ETCD_USER,
    "settings": guest.ETCD_DEFAULTS,
}


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
        ImagegenError: a template is broken, or does not say what it must; or two
            of the files would be at one path.
    """
    files = list(files_of_user_data(cluster))
    places = {landing.path: landing for landing in files}
    if len(places) != len(files):
        raise_errors(clashes(files))
    paths = cluster.credential_paths
    contents = {
        paths.ca: pki.ca.certificate_pem,
        paths.server: credentials.server.certificate_pem,
        paths.peer_ca: pki.peer_ca.certificate_pem,
        paths.peer: credentials.peer.certificate_pem,
    }
    if secrets == Secrets.EMBED:
        contents |= private_keys(cluster, credentials)
    if pki.crl_pem:
        contents[cluster.crl_path] = base64.b64encode(crl_der(pki.crl_pem)).decode()

    settings = cluster.settings(member, pki.peer_common_name, crl=pki.crl_pem is not None)
    text = templates.render("etcd.env.j2", cluster=cluster, member=member, settings=settings)
    compare_rendered("etcd.env.j2", parse_env(text), settings)
    contents[guest.ETCD_DEFAULTS] = text

    if cluster.spec.install.apt:
        for source in cluster.spec.install.apt.sources:
            contents |= _apt_source(source)

    hosts = _hosts(cluster, member)
    text = templates.render("hosts.j2", cluster=cluster, member=member, hosts=hosts)
    lines = {f"{address} {name}": None for address, names in hosts for name in names}
    compare_rendered("hosts.j2", parse_hosts(text), lines)
    contents[guest.HOSTS] = text

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
        contents[path] = text
    config = firstboot_config(cluster, member, not_before(credentials), secrets)
    commented = templates.text("firstboot.py")
    contents[guest.PROGRAM] = without_comments(
        commented, name="firstboot.py", parts=parts_for(config)
    )
    contents[guest.CONFIG] = json.dumps(config, indent=1) + "\n"
    return [places[path].entry(text) for path, text in contents.items()]


def _apt_source(source: AptSource) -> dict[str, str]:
    """The files of a further package source: deb822, and the one key it is trusted for.

    Not cloud-init's `apt.sources`, which needs gnupg in the image.
    """
    key = guest.apt_key(source.name)
    fields = {
        "Types": "deb",
        "URIs": source.uri,
        "Suites": source.suite,
        "Components": " ".join(source.components),
        "Signed-By": key,
    }
    text = "".join(f"{name}: {value}\n" for name, value in fields.items() if value)
    return {guest.apt_source(source.name): text, key: source.key}


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
    if secrets != Secrets.EMBED:
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
        path = guest.unit_path(guest.mount_unit(disk.mount_point))
        units.append(("data-disk.mount.j2", path, mount))
    return units


def _written(cluster: Cluster) -> list[str]:
    """Where etcd writes, if its unit may be the one that lets it write nowhere else."""
    if cluster.spec.install.mode == "package" or cluster.spec.install.pinned_packages:
        return []
    return [path for path in (cluster.data_directory, cluster.spec.etcd.wal_directory) if path]


def _keys_arrive_at(cluster: Cluster, member: Member, secrets: str) -> list[str]:
    """What appears on the member once its keys are there to be taken."""
    if secrets == Secrets.SPLIT:
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
