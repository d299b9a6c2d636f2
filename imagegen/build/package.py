"""Documents packaged for every target, and what belongs to no member."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from imagegen.base.problems import Problem, raise_errors
from imagegen.build.bundle import read_bundle
from imagegen.build.manifest import (
    member_entry,
)
from imagegen.build.options import Options, secrets_for
from imagegen.build.output import Artifact
from imagegen.build.prepare import Prepared
from imagegen.build.snapshot_file import Snapshot
from imagegen.cluster.cluster import Cluster, Member
from imagegen.documents import guest
from imagegen.documents.names import BUNDLE_DISC, CLIENT, KEYS, KEYS_DISC, SNAPSHOT_DISC
from imagegen.documents.render import NodeDocuments, render_node
from imagegen.documents.templates import Templates
from imagegen.media.iso_writer import build_image
from imagegen.pki.issue import issue_pki
from imagegen.pki.model import Pki
from imagegen.spec.model import Spec
from imagegen.spec.secrets import Secrets
from imagegen.targets import load_target, payload
from imagegen.targets import targets as all_targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Packaged:
    """What members boot with, and what the manifest says of it."""

    artifacts: list[Artifact]
    entries: list[dict[str, Any]]
    warnings: list[Problem]
    bundle_disc: Artifact | None


def package_members(prepared: Prepared, options: Options, templates: Templates) -> Packaged:
    """The documents of the members asked for, packaged for every target; nothing is written.

    Raises:
        ImagegenError: a template is broken, or a target does not take so much.
    """
    targets = [load_target(name) for name in options.targets]
    cluster, pki = prepared.cluster, prepared.pki
    wanted = [m for m in cluster.members if not options.members or m.name in options.members]
    artifacts: list[Artifact] = []
    entries = []
    problems: list[Problem] = []
    ways = {target: secrets_for(target, cluster.spec, options) for target in targets}
    used = set(ways.values()) or {secrets_for(None, cluster.spec, options)}
    bundle = read_bundle(cluster.spec, prepared.directory)
    for member in wanted:
        # Where one target embeds keys and another does not, the plain documents embed them.
        rendered = {
            secrets: replace(
                render_node(cluster, member, pki, templates, secrets=secrets), bundle=bundle
            )
            for secrets in sorted(used, key=Secrets.EMBED.__eq__)
        }
        files: dict[str, bytes] = {}
        for documents in rendered.values():
            files |= plain_files(documents)
        for target, secrets in ways.items():
            packaged = target.package(rendered[secrets], options.payload)
            problems += payload.size_problems(
                target,
                rendered[secrets],
                packaged,
                options=options.payload,
                # Members differ by bytes: what other choices come to is said of the first.
                render=None
                if problems
                else partial(_render_otherwise, cluster, member, pki, templates),
                others=all_targets,
            )
            files |= packaged.files
        artifacts += [artifact_of(name, data) for name, data in files.items()]
        entries.append(member_entry(cluster, member, pki, files))
    raise_errors(problems)
    alone = bool(bundle) and not all(target.carries_bundle for target in targets)
    return Packaged(
        artifacts=artifacts,
        entries=entries,
        warnings=problems,
        bundle_disc=_bundle_disc(cluster, bundle) if alone else None,
    )


def _bundle_disc(cluster: Cluster, bundle: Mapping[str, bytes]) -> Artifact:
    """A disc for every machine whose seed does not bring the bundle."""
    label = guest.bundle_label([file.sha256 for file in cluster.spec.install.bundled])
    return artifact_of(BUNDLE_DISC, build_image(bundle, when=cluster.identity.created, label=label))


def snapshot_disc(snapshot: Snapshot, when: datetime) -> Artifact:
    """A disc for every machine; its label is by what is on it."""
    label = guest.snapshot_label(snapshot.sha256)
    image = build_image({"snapshot.db": snapshot.path.read_bytes()}, when=when, label=label)
    return artifact_of(SNAPSHOT_DISC, image)


def _render_otherwise(
    cluster: Cluster, member: Member, pki: Pki, templates: Templates, secrets: str, spec: Spec
) -> NodeDocuments:
    """A member's documents by a changed spec, with keys for the occasion if theirs change."""
    changed = replace(cluster, spec=spec)
    if spec.pki.algorithm != cluster.spec.pki.algorithm:
        alone = replace(changed, spec=replace(spec, members=(member.plan,), clients=()))
        pki = issue_pki(alone, stored=None, now=cluster.identity.created).pki
    return render_node(changed, member, pki, templates, secrets=secrets)


def plain_files(documents: NodeDocuments) -> dict[str, bytes]:
    """A member's documents as they are, and its keys if they travel apart from them."""
    folder = documents.folder
    files = {f"{folder}/{name}": data for name, data in documents.files().items()}
    keys = {name: text.encode() for name, text in documents.keys.items()}
    if documents.secrets == Secrets.SPLIT:
        label = guest.keys_label(documents.member.instance_id)
        when = documents.cluster.identity.created
        files[f"{folder}/{KEYS_DISC}"] = build_image(keys, when=when, label=label)
    elif documents.secrets == Secrets.EXTERNAL:
        files |= {f"{folder}/{KEYS}/{name}": data for name, data in keys.items()}
    return files


def artifact_of(name: str, data: bytes) -> Artifact:
    """A file below the cluster's directory; one that begins with ``#!`` can be run."""
    return Artifact(
        path=PurePosixPath(name), data=data, mode=0o700 if data.startswith(b"#!") else 0o600
    )


def client_artifacts(cluster: Cluster, pki: Pki, templates: Templates) -> Iterator[Artifact]:
    """What a caller of the cluster needs: CA, credentials, and etcdctl's settings."""
    folder = PurePosixPath(CLIENT)
    texts = {"ca.pem": pki.ca.certificate_pem}
    settings = {
        "ETCDCTL_ENDPOINTS": ",".join(cluster.client_urls),
        "ETCDCTL_CACERT": "ca.pem",
    }
    if pki.client:
        texts |= {"client.pem": pki.client.certificate_pem, "client-key.pem": pki.client.key_pem}
        settings |= {"ETCDCTL_CERT": "client.pem", "ETCDCTL_KEY": "client-key.pem"}
    for name, client in pki.clients.items():
        texts |= {f"{name}.pem": client.certificate_pem, f"{name}-key.pem": client.key_pem}
    texts["etcdctl.env"] = templates.render("etcdctl.env.j2", cluster=cluster, settings=settings)
    for name, text in texts.items():
        yield Artifact(path=folder / name, data=text.encode())
