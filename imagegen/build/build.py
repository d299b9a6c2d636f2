"""The whole way from spec files to artifacts in place, one cluster at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imagegen.base.problems import ImagegenError, Problem
from imagegen.build.changes import Change, member_changes, removed_members
from imagegen.build.load import LoadedSpec, etcd_problems
from imagegen.build.manifest import (
    build_manifest,
    file_facts,
    files_in,
    manifest_artifact,
    read_manifest,
)
from imagegen.build.options import Options
from imagegen.build.output import Changes, write_artifacts
from imagegen.build.package import client_artifacts, package_members, snapshot_disc
from imagegen.build.prepare import Prepared, prepare_from, prepared_in
from imagegen.cluster.cluster import Cluster, hex_id
from imagegen.documents.names import BUNDLE_DISC, KEYS, KEYS_DISC, MEMBERS, SNAPSHOT_DISC
from imagegen.documents.render import render_node
from imagegen.documents.templates import Templates
from imagegen.spec.secrets import Secrets
from imagegen.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A cluster whose artifacts are in place."""

    cluster: Cluster
    directory: Path
    changes: Changes
    notes: tuple[str, ...]
    warnings: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A cluster that was not built, and why; its files are as they were."""

    path: Path
    error: ImagegenError


def compare_cluster(loaded: LoadedSpec, options: Options) -> tuple[list[Change], list[str]]:
    """What a build would change of the plain documents, and which members it would drop.

    Nothing is written. Secrets are embedded or not as they are in what was built.

    Raises:
        ImagegenError: the cluster was never built, or what was built cannot be read.
    """
    stored = Store(options.pki, loaded.spec.cluster).existing()
    directory = options.output / loaded.spec.cluster
    if not directory.is_dir():
        raise ImagegenError(
            f"{loaded.spec.cluster} was not built here",
            where=str(directory),
            hint="name the directories of the build with --pki and as OUT",
        )
    prepared = prepare_from(loaded, replace(options, reissue=True), stored)
    cluster = prepared.cluster
    templates = Templates(options.templates)
    changes: list[Change] = []
    for member in cluster.members:
        secrets = options.secrets or cluster.spec.secrets or built_secrets(directory, member.name)
        documents = render_node(cluster, member, prepared.pki, templates, secrets=secrets)
        changes += member_changes(documents, directory)
    return changes, removed_members(cluster, directory)


def built_secrets(directory: Path, member: str) -> Secrets:
    """How private keys travel in what was built for a member."""
    folder = directory / MEMBERS / member
    beside = {Secrets.SPLIT: folder / KEYS_DISC, Secrets.EXTERNAL: folder / KEYS}
    user_data = folder / "user-data"
    embedded = user_data.is_file() and "PRIVATE KEY-----" in user_data.read_text(errors="replace")
    return next(
        (way for way, path in beside.items() if path.exists() and not embedded),
        Secrets.EMBED,
    )


def build_cluster(loaded: LoadedSpec, options: Options) -> Built:
    """Build one cluster whole and put it in place.

    Raises:
        ImagegenError: with what is wrong; the artifacts are then as they were.
    """
    templates = Templates(options.templates)
    store = Store(options.pki, loaded.spec.cluster)
    # Held to the end: of two builds at once, the second sees what the first has built.
    with store.locked():
        built = _build_prepared(prepared_in(store, loaded, options), options, templates)
    return replace(built, warnings=(*built.warnings, *etcd_problems(loaded, options.now)))


def _build_prepared(prepared: Prepared, options: Options, templates: Templates) -> Built:
    cluster, pki = prepared.cluster, prepared.pki
    members = package_members(prepared, options, templates)
    artifacts = [*members.artifacts, *client_artifacts(cluster, pki, templates)]
    directory = options.output / cluster.name
    old = read_manifest(directory) or {"members": []}
    built = {entry["name"] for entry in members.entries}
    kept = [entry for entry in old["members"] if entry["name"] not in built]
    files: dict[str, Any] = {}
    if members.bundle_disc:
        artifacts.append(members.bundle_disc)
        files = file_facts({BUNDLE_DISC: members.bundle_disc.data})
    elif kept and (facts := old.get("files", {}).get(BUNDLE_DISC)):
        files = {BUNDLE_DISC: facts}  # those may be for another target
    if options.start and options.start.snapshot.fits_a_disc:
        disc = snapshot_disc(options.start.snapshot, cluster.identity.created)
        artifacts.append(disc)
        files |= file_facts({SNAPSHOT_DISC: disc.data})
    elif old.get("cluster_id") == hex_id(cluster.cluster_id):
        # What it began with is what its seeds ask for.
        files |= {
            name: facts for name, facts in old.get("files", {}).items() if name == SNAPSHOT_DISC
        }
    entries = _with_others(members.entries, kept, cluster)
    manifest = build_manifest(cluster, entries, pki, files)
    artifacts.append(manifest_artifact(manifest))
    changes = write_artifacts(
        artifacts,
        options.output,
        cluster.name,
        obsolete=files_in(old).keys() - files_in(manifest).keys(),
        force=options.force,
    )
    return Built(
        cluster=cluster,
        directory=directory,
        changes=changes,
        notes=prepared.notes,
        warnings=(*prepared.warnings, *members.warnings),
    )


def _with_others(
    entries: list[dict[str, Any]], others: list[dict[str, Any]], cluster: Cluster
) -> list[dict[str, Any]]:
    """The new entries and those of members not built this time, in the spec's order."""
    known = {entry["name"]: entry for entry in (*others, *entries)}
    return [known[member.name] for member in cluster.members if member.name in known]


def build_fleet(
    specs: Sequence[LoadedSpec], options: Options, *, jobs: int = 1
) -> Iterator[Built | Failed]:
    """Build clusters one after another, or ``jobs`` at a time, in the specs' order.

    A cluster that fails does not stop the others; each result is handed out
    as soon as those before it are done, so memory stays flat.
    """
    if jobs <= 1 or len(specs) <= 1:
        for loaded in specs:
            yield _attempt(loaded, options)
        return
    from concurrent.futures import Future, ProcessPoolExecutor  # 10 ms, for fleets only

    # The first one here: what it leaves behind, such as compiled templates, all workers have.
    first, *others = specs
    yield _attempt(first, options)
    with ProcessPoolExecutor(max_workers=min(jobs, len(others))) as pool:
        waiting: list[Future[Built | Failed]] = []
        for loaded in others:
            waiting.append(pool.submit(_attempt, loaded, options))
            if len(waiting) >= 4 * jobs:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def _attempt(loaded: LoadedSpec, options: Options) -> Built | Failed:
    try:
        return build_cluster(loaded, options)
    except ImagegenError as error:
        return Failed(path=loaded.path, error=error)
