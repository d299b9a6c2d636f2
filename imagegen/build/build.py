"""The whole way from spec files to artifacts in place, one cluster at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from imagegen.base.problems import ImagegenError, Problem, raise_errors
from imagegen.build.bundle import bundle_problems, read_bundle
from imagegen.build.changes import Change, member_changes, removed_members
from imagegen.build.manifest import (
    build_manifest,
    file_facts,
    files_in,
    manifest_artifact,
    member_entry,
    read_manifest,
)
from imagegen.build.output import CLIENT, MEMBERS, Artifact, Changes, write_artifacts
from imagegen.build.snapshot_file import DISC, Snapshot
from imagegen.cluster.cluster import Cluster, Identity, Member, Restored, hex_id
from imagegen.documents import guest
from imagegen.documents.landing import clashes, landings
from imagegen.documents.render import NodeDocuments, render_node
from imagegen.documents.templates import Templates
from imagegen.etcd.advisories import release_problems
from imagegen.etcd.variables import check_combination
from imagegen.media.iso_writer import build_image
from imagegen.pki.imports import read_imports
from imagegen.pki.issue import issue_pki
from imagegen.pki.model import Imported, Pki
from imagegen.spec.model import Spec, own_settings
from imagegen.spec.read import parse_spec
from imagegen.store.identity import identity_for
from imagegen.store.record import Record, record_of
from imagegen.store.store import Store, Stored
from imagegen.targets import load_target, payload
from imagegen.targets import targets as all_targets

#: More than this is no spec: a spec of 1,000 members is a tenth of it.
LARGEST_SPEC = 2 * 1024 * 1024
#: A disc for machines whose seed brings no bundle.
BUNDLE_DISC = "bundle.iso"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a new cluster begins with: a snapshot, and what its revision is raised by."""

    snapshot: Snapshot
    bump_revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to build, the same for every cluster of a run.

    ``now`` is the clock for everything that is made in this run.
    """

    now: datetime
    output: Path = Path("out")
    pki: Path = Path("pki")
    targets: tuple[str, ...] = ("nocloud-iso",)
    payload: payload.Options = field(default_factory=payload.Options)
    secrets: str | None = None
    allow_secrets_over_network: bool = False
    members: tuple[str, ...] = ()
    templates: Path | None = None
    reissue: bool = False
    force: bool = False
    new_cluster: bool = False
    start: Start | None = None
    passphrase: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSpec:
    """A spec that was read and found good, with what it brings along."""

    path: Path
    spec: Spec
    imported: Imported | None = field(repr=False)
    warnings: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A cluster whose identity and keys are in its store; ``directory`` is its spec's."""

    cluster: Cluster
    pki: Pki
    directory: Path
    notes: tuple[str, ...]
    warnings: tuple[Problem, ...]


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


def load_specs(paths: Sequence[Path], options: Options) -> list[LoadedSpec]:
    """Read and check every spec and all that it imports, before anything is written.

    Raises:
        ProblemsError: with every problem of every spec.
    """
    loaded: list[LoadedSpec] = []
    problems: list[Problem] = []
    first: dict[str, Path] = {}
    for path in paths:
        try:
            item = load_spec(path, now=options.now, passphrase=options.passphrase)
        except ImagegenError as error:
            problems += error.problems
            continue
        loaded.append(item)
        name = item.spec.cluster
        if first.setdefault(name, path) != path or [i.spec.cluster for i in loaded].count(name) > 1:
            problems.append(
                Problem(
                    where=str(path),
                    what=f"cluster {name} is already defined by {first[name]}",
                    hint="give each cluster its own name",
                )
            )
    names = {member.name for item in loaded for member in item.spec.members}
    problems += [
        Problem(where="--member", what=f"{name} is in no spec", hint=f"members: {_some(names)}")
        for name in options.members
        if name not in names and not problems
    ]
    for item in loaded:
        problems += _secrets_problems(item.spec, options)
    raise_errors(problems)
    return loaded


def _secrets_problems(spec: Spec, options: Options) -> Iterator[Problem]:
    """Private keys must not go where strangers can read them without a word from the operator."""
    for name in options.targets:
        target = load_target(name)
        if target.secrets == "embed" or secrets_for(target, spec, options) != "embed":
            continue
        where = f"{spec.cluster}: target {name}"
        if not options.allow_secrets_over_network:
            yield Problem(
                where=where,
                what=f"{target.readers} could read the private keys in user-data",
                hint="choose --secrets split or external, or accept it with "
                "--allow-secrets-over-network",
            )
        elif target.readers is payload.Readers.NETWORK and not str(
            options.payload.seed_url
        ).startswith("https://"):
            yield Problem(
                where=where,
                what="private keys in user-data travel over HTTP only with TLS",
                hint="give --seed-url https://..., or choose --secrets split",
            )


def secrets_for(target: payload.Target, spec: Spec, options: Options) -> str:
    """How private keys reach a member through ``target``: as asked for, else as suits it."""
    return options.secrets or spec.secrets or target.secrets


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:9]) + (", ..." if len(listed) > 9 else "")


def read_text(path: Path) -> str:
    """A spec's text.

    Raises:
        ImagegenError: it cannot be read, is no text, or far too large for a spec.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_SPEC + 1)
    except OSError as error:
        raise ImagegenError(
            f"cannot read: {error.strerror}", where=str(path), hint="see: imagegen init"
        ) from None
    if len(data) > LARGEST_SPEC:
        raise ImagegenError("is too large for a spec", where=str(path), hint="2 MiB at most")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImagegenError(
            f"is no UTF-8 text (byte {error.start})", where=str(path), hint="save it as UTF-8"
        ) from None


def load_spec(path: Path, *, now: datetime, passphrase: bytes | None = None) -> LoadedSpec:
    """Read and check one spec and the certificates it imports.

    Raises:
        ProblemsError: with everything that is wrong.
    """
    spec, warnings = parse_spec(read_text(path), source=str(path))
    imported, problems = read_imports(spec, path.parent, now=now, passphrase=passphrase)
    # Nothing that these look at depends on who the cluster is, so any identity will do.
    identity = Identity(store_id="", token=spec.token or "token", created=datetime.min)
    cluster = Cluster(spec=spec, identity=identity)
    problems = (*problems, *_settings_problems(cluster, path), *_landing_problems(cluster, path))
    bundle = bundle_problems(spec, path.parent)
    problems = (*problems, *(replace(p, where=f"{path}: {p.where}") for p in bundle))
    raise_errors(problems)
    return LoadedSpec(path=path, spec=spec, imported=imported, warnings=(*warnings, *problems))


def _landing_problems(cluster: Cluster, path: Path) -> Iterator[Problem]:
    """What cannot land on a member as the spec has it: two files at one path, or a hidden one."""
    for problem in clashes(landings(cluster)):
        yield replace(problem, where=f"{path}: {problem.where}")


def _settings_problems(cluster: Cluster, path: Path) -> Iterator[Problem]:
    """What etcd would mind about all its settings together, the derived ones included."""
    spec = cluster.spec
    settings = cluster.settings(cluster.members[0], None)
    for names, problem in check_combination(settings, spec.etcd_version):
        if not set(names) <= own_settings(spec.etcd).keys() | spec.etcd.settings.keys():
            yield replace(problem, where=f"{path}: {problem.where}")


def etcd_problems(loaded: LoadedSpec, now: datetime) -> Iterator[Problem]:
    """What there is to know of the etcd that the spec has the members run, if it says which."""
    spec = loaded.spec
    if version := spec.etcd_release:
        setting = "release.version" if spec.install.mode == "release" else spec.install.mode
        yield from release_problems(
            version,
            now=now,
            where=f"{loaded.path}: install.{setting}",
            tracker=spec.package_tracker,
            settings=spec.etcd.settings,
        )


def prepare(loaded: LoadedSpec, options: Options) -> Prepared:
    """Give a cluster its identity and keys: from its store, made where missing, and kept.

    Raises:
        ImagegenError: the spec contradicts the store, a credential no longer
            fits, or the store cannot be written.
    """
    store = Store(options.pki, loaded.spec.cluster)
    with store.locked():
        return _prepared_in(store, loaded, options)


def _prepared_in(store: Store, loaded: LoadedSpec, options: Options) -> Prepared:
    stored = store.load()
    prepared = prepare_from(loaded, options, stored)
    store.save(record_of(prepared.cluster, stored.record if stored else None), prepared.pki)
    return prepared


def prepare_from(loaded: LoadedSpec, options: Options, stored: Stored | None) -> Prepared:
    """What :func:`prepare` would make of this store; nothing is written.

    Raises:
        ImagegenError: the spec contradicts the store, or a credential no longer fits.
    """
    spec = loaded.spec
    record: Record | None = stored.record if stored else None
    identity = identity_for(spec, record, now=options.now, new_cluster=options.new_cluster)
    if start := options.start:
        restored = Restored(
            sha256=start.snapshot.sha256,
            size=start.snapshot.size,
            bump_revision=start.bump_revision,
        )
        identity = replace(identity, restored=restored)
    cluster = Cluster(spec=spec, identity=identity)
    issued = issue_pki(
        cluster,
        stored=stored.pki if stored else None,
        imported=loaded.imported,
        now=options.now,
        reissue=options.reissue,
        passphrase=options.passphrase,
    )
    return Prepared(
        cluster=cluster,
        pki=issued.pki,
        directory=loaded.path.parent,
        notes=issued.notes,
        warnings=(*loaded.warnings, *(stored.warnings if stored else ()), *issued.warnings),
    )


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


def built_secrets(directory: Path, member: str) -> str:
    """How private keys travel in what was built for a member."""
    folder = directory / MEMBERS / member
    beside = {"split": folder / "keys.iso", "external": folder / "keys"}
    user_data = folder / "user-data"
    embedded = user_data.is_file() and "PRIVATE KEY-----" in user_data.read_text(errors="replace")
    return next((way for way, path in beside.items() if path.exists() and not embedded), "embed")


def build_cluster(loaded: LoadedSpec, options: Options) -> Built:
    """Build one cluster whole and put it in place.

    Raises:
        ImagegenError: with what is wrong; the artifacts are then as they were.
    """
    templates = Templates(options.templates)
    store = Store(options.pki, loaded.spec.cluster)
    # Held to the end: of two builds at once, the second sees what the first has built.
    with store.locked():
        built = _build_prepared(_prepared_in(store, loaded, options), options, templates)
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
        disc = _snapshot_disc(options.start.snapshot, cluster.identity.created)
        artifacts.append(disc)
        files |= file_facts({DISC: disc.data})
    elif old.get("cluster_id") == hex_id(cluster.cluster_id):
        # What it began with is what its seeds ask for.
        files |= {name: facts for name, facts in old.get("files", {}).items() if name == DISC}
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
    used = set(ways.values()) or {options.secrets or cluster.spec.secrets or "embed"}
    bundle = read_bundle(cluster.spec, prepared.directory)
    for member in wanted:
        # Where one target embeds keys and another does not, the plain documents embed them.
        rendered = {
            secrets: replace(
                render_node(cluster, member, pki, templates, secrets=secrets), bundle=bundle
            )
            for secrets in sorted(used, key="embed".__eq__)
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
        artifacts += [_artifact(name, data) for name, data in files.items()]
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
    return _artifact(BUNDLE_DISC, build_image(bundle, when=cluster.identity.created, label=label))


def _snapshot_disc(snapshot: Snapshot, when: datetime) -> Artifact:
    """A disc for every machine; its label is by what is on it."""
    label = guest.snapshot_label(snapshot.sha256)
    image = build_image({"snapshot.db": snapshot.path.read_bytes()}, when=when, label=label)
    return _artifact(DISC, image)


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
    if documents.secrets == "split":
        label = guest.keys_label(documents.member.instance_id)
        when = documents.cluster.identity.created
        files[f"{folder}/keys.iso"] = build_image(keys, when=when, label=label)
    elif documents.secrets == "external":
        files |= {f"{folder}/keys/{name}": data for name, data in keys.items()}
    return files


def _artifact(name: str, data: bytes) -> Artifact:
    return Artifact(
        path=PurePosixPath(name), data=data, mode=0o700 if data.startswith(b"#!") else 0o600
    )


def _with_others(
    entries: list[dict[str, Any]], others: list[dict[str, Any]], cluster: Cluster
) -> list[dict[str, Any]]:
    """The new entries and those of members not built this time, in the spec's order."""
    known = {entry["name"]: entry for entry in (*others, *entries)}
    return [known[member.name] for member in cluster.members if member.name in known]


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
