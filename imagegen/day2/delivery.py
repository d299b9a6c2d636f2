"""Changing what a running member has: a script for it, and the files beside that.

imagegen has no way into the machines and leaves no agent on them. What must
change there becomes a shell script that the operator takes to the member; it
checks where it is, does nothing twice, and can be interrupted anywhere.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from imagegen._version import __version__
from imagegen.build.output import Artifact, Changes, write_artifacts
from imagegen.cluster.cluster import Cluster, Member
from imagegen.documents import guest
from imagegen.documents.names import SCRIPT
from imagegen.documents.templates import Templates
from imagegen.pki.model import CertificateAuthority, Credential, Pki
from imagegen.pki.pem import certificates_in, certificates_pem, crl_der


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A credential's two files on a member, the CA it is checked with, and where it is served."""

    name: str
    certificate_path: str
    key_path: str
    ca_path: str
    ports: tuple[str, ...]
    certificate_pem: str
    #: Only where the key on the member has to change.
    new_key_pem: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedCa:
    """A file of CA certificates on a member."""

    name: str
    path: str
    certificate_pem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationList:
    """The list of revoked clients on a member, and the CA that signed it."""

    path: str
    ca_path: str
    base64: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRelease:
    """The etcd a member is to run, and what its first-boot program fetches it by."""

    version: str
    config: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What one member is to have. etcd reads CAs and settings only as it starts."""

    purpose: str
    member: Member
    pairs: tuple[Pair, ...] = ()
    cas: tuple[TrustedCa, ...] = ()
    crl: RevocationList | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    release: NewRelease | None = None


def pairs_of(
    cluster: Cluster, member: Member, pki: Pki, *, new_keys: bool = False
) -> tuple[Pair, ...]:
    """The member's credentials as the store has them; with ``new_keys``, their keys too."""
    paths, own = cluster.credential_paths, pki.members[member.name]
    client, peer = client_endpoint(member), peer_endpoint(member)
    places: list[tuple[str, Credential, str, str, str, tuple[str, ...]]]
    if cluster.one_credential:
        places = [("member", own.server, paths.server, paths.server_key, paths.ca, (client, peer))]
    else:
        places = [
            ("server", own.server, paths.server, paths.server_key, paths.ca, (client,)),
            ("peer", own.peer, paths.peer, paths.peer_key, paths.peer_ca, (peer,)),
        ]
    return tuple(
        Pair(
            name=name,
            certificate_path=certificate,
            key_path=key,
            ca_path=ca,
            ports=ports,
            certificate_pem=_normal(credential.certificate_pem),
            new_key_pem=credential.key_pem if new_keys else None,
        )
        for name, credential, certificate, key, ca, ports in places
    )


def trusted_cas(cluster: Cluster, pki: Pki) -> tuple[TrustedCa, ...]:
    """The files of CA certificates that every member has."""
    paths = cluster.credential_paths
    files: dict[str, CertificateAuthority] = {paths.ca: pki.ca, paths.peer_ca: pki.peer_ca}
    return tuple(
        TrustedCa(name=ca.name, path=path, certificate_pem=_normal(ca.certificate_pem))
        for path, ca in files.items()
    )


def revocation_list(cluster: Cluster, crl_pem: str) -> RevocationList:
    """The list as a member has it."""
    return RevocationList(
        path=cluster.crl_path,
        ca_path=cluster.credential_paths.ca,
        base64=base64.encodebytes(crl_der(crl_pem)).decode(),
    )


def client_endpoint(member: Member) -> str:
    """HOST:PORT of its client port, as openssl wants it."""
    return member.client_url.removeprefix("https://")


def peer_endpoint(member: Member) -> str:
    """HOST:PORT of its peer port."""
    return member.peer_url.removeprefix("https://")


def artifacts_of(cluster: Cluster, delivery: Delivery, templates: Templates) -> list[Artifact]:
    """The script for one member in a folder of its name, and new keys beside it (0600)."""
    member = delivery.member
    new_keys = any(pair.new_key_pem for pair in delivery.pairs)
    paths = cluster.credential_paths
    text = templates.render(
        "apply.sh.j2",
        purpose=delivery.purpose,
        version=__version__,
        cluster=cluster,
        member=member,
        guest=guest,
        endpoint=client_endpoint(member),
        endpoint_of=client_endpoint,
        credential={"certificate_path": paths.server, "key_path": paths.server_key},
        pairs=delivery.pairs,
        cas=delivery.cas,
        crl=delivery.crl,
        settings=delivery.settings,
        release=delivery.release,
        new_keys=new_keys,
        restarts=new_keys
        or bool(delivery.cas or delivery.crl or delivery.settings or delivery.release),
    )
    folder = PurePosixPath(member.name)
    return [
        Artifact(path=folder / SCRIPT, data=text.encode(), mode=0o700),
        *(
            Artifact(path=folder / f"{pair.name}-key.pem", data=pair.new_key_pem.encode())
            for pair in delivery.pairs
            if pair.new_key_pem
        ),
    ]


def write_deliveries(
    cluster: Cluster, deliveries: Iterable[Delivery], directory: Path, templates: Templates
) -> Changes:
    """Write every member's folder into ``directory``; what an earlier run left there goes.

    Folders of members that are not delivered to now stay as they are.
    """
    artifacts: list[Artifact] = []
    for delivery in deliveries:
        artifacts += artifacts_of(cluster, delivery, templates)
    wanted = {str(artifact.path) for artifact in artifacts}
    keys = {
        f"{artifact.path.parent}/{name}-key.pem"
        for artifact in artifacts
        for name in ("server", "peer", "member")
    }
    return write_artifacts(
        artifacts, directory.parent, directory.name, obsolete=keys - wanted, force=True
    )


def _normal(pem: str) -> str:
    """The certificates alone, whatever text stood around them."""
    return certificates_pem(certificates_in(pem))
