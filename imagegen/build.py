"""The whole way from spec files to artifacts in place, one cluster at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path, PurePosixPath

from imagegen.cluster import Cluster, Identity
from imagegen.errors import ImagegenError, Problem, raise_errors
from imagegen.etcd_settings import check_combination
from imagegen.imports import Imported, read_imports
from imagegen.manifest import build_manifest, manifest_artifact, member_entry, read_manifest
from imagegen.output import MEMBERS, Artifact, Changes, write_artifacts
from imagegen.pki import Pki, issue_pki
from imagegen.render import render_node
from imagegen.spec import Spec, own_settings, parse_spec
from imagegen.store import Record, Store, identity_for, record_of
from imagegen.targets import load_target
from imagegen.templates import Templates

#: More than this is no spec: a spec of 1,000 members is a tenth of it.
LARGEST_SPEC = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to build, the same for every cluster of a run.

    ``now`` is the clock for everything that is made in this run.
    """

    now: datetime
    output: Path = Path("out")
    pki: Path = Path("pki")
    targets: tuple[str, ...] = ("nocloud-iso",)
    members: tuple[str, ...] = ()
    templates: Path | None = None
    reissue: bool = False
    force: bool = False
    new_cluster: bool = False
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
    """A cluster whose identity and keys are in its store."""

    cluster: Cluster
    pki: Pki
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
    raise_errors(problems)
    return loaded


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
    problems = (*problems, *_settings_problems(spec, path))
    raise_errors(problems)
    return LoadedSpec(path=path, spec=spec, imported=imported, warnings=(*warnings, *problems))


def _settings_problems(spec: Spec, path: Path) -> Iterator[Problem]:
    """What etcd would mind about all its settings together, the derived ones included."""
    # Nothing here depends on who the cluster is, so any identity will do.
    identity = Identity(store_id="", token=spec.token or "token", created=datetime.min)
    cluster = Cluster(spec=spec, identity=identity)
    settings = cluster.settings(cluster.members[0], None)
    for names, problem in check_combination(settings, spec.etcd_version):
        if not set(names) <= own_settings(spec.etcd).keys() | spec.etcd.settings.keys():
            yield replace(problem, where=f"{path}: {problem.where}")


def prepare(loaded: LoadedSpec, options: Options) -> Prepared:
    """Give a cluster its identity and keys: from its store, made where missing, and kept.

    Raises:
        ImagegenError: the spec contradicts the store, a credential no longer
            fits, or the store cannot be written.
    """
    spec = loaded.spec
    store = Store(options.pki, spec.cluster)
    with store.locked():
        stored = store.load()
        record: Record | None = stored.record if stored else None
        identity = identity_for(spec, record, now=options.now, new_cluster=options.new_cluster)
        cluster = Cluster(spec=spec, identity=identity)
        issued = issue_pki(
            cluster,
            stored=stored.pki if stored else None,
            imported=loaded.imported,
            now=options.now,
            reissue=options.reissue,
            passphrase=options.passphrase,
        )
        store.save(record_of(cluster, record), issued.pki)
    return Prepared(
        cluster=cluster,
        pki=issued.pki,
        notes=issued.notes,
        warnings=(*loaded.warnings, *(stored.warnings if stored else ()), *issued.warnings),
    )


def build_cluster(loaded: LoadedSpec, options: Options) -> Built:
    """Build one cluster whole and put it in place.

    Raises:
        ImagegenError: with what is wrong; the artifacts are then as they were.
    """
    templates = Templates(options.templates)
    targets = [load_target(name) for name in options.targets]
    prepared = prepare(loaded, options)
    cluster, pki = prepared.cluster, prepared.pki
    wanted = [m for m in cluster.members if not options.members or m.name in options.members]
    directory = options.output / cluster.name
    artifacts: list[Artifact] = []
    entries = []
    for member in wanted:
        documents = render_node(cluster, member, pki, templates)
        files = documents.files()
        for target in targets:
            files |= target.package(documents, when=cluster.identity.created)
        base = PurePosixPath(MEMBERS, member.name)
        artifacts += [Artifact(path=base / name, data=data) for name, data in files.items()]
        named = {f"{base}/{name}": data for name, data in files.items()}
        entries.append(member_entry(cluster, member, pki, named))
    artifacts += client_artifacts(cluster, pki, templates)
    entries = _with_others(entries, cluster, directory)
    artifacts.append(manifest_artifact(build_manifest(cluster, entries, pki)))
    changes = write_artifacts(
        artifacts,
        options.output,
        cluster.name,
        members=frozenset(member.name for member in cluster.members),
        force=options.force,
    )
    return Built(
        cluster=cluster,
        directory=directory,
        changes=changes,
        notes=prepared.notes,
        warnings=prepared.warnings,
    )


def _with_others(
    entries: list[dict[str, object]], cluster: Cluster, directory: Path
) -> list[dict[str, object]]:
    """The new entries, and the manifest's old ones of members not built this time."""
    known = {entry["name"]: entry for entry in entries}
    if len(known) < len(cluster.members):
        old = read_manifest(directory) or {"members": []}
        for entry in old["members"]:
            known.setdefault(entry.get("name"), entry)
    return [known[member.name] for member in cluster.members if member.name in known]


def client_artifacts(cluster: Cluster, pki: Pki, templates: Templates) -> Iterator[Artifact]:
    """What a caller of the cluster needs: CA, credentials, and etcdctl's settings."""
    folder = PurePosixPath("client")
    texts = {"ca.pem": pki.ca.certificate_pem}
    settings = {
        "ETCDCTL_API": "3",
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
    if jobs <= 1 or len(specs) == 1:
        for loaded in specs:
            yield _attempt(loaded, options)
        return
    with ProcessPoolExecutor(max_workers=min(jobs, len(specs))) as pool:
        waiting: list[Future[Built | Failed]] = []
        for loaded in specs:
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
