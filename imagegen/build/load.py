"""Reading spec files, with what they import and bring along."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from imagegen.base.problems import ImagegenError, Problem, raise_errors
from imagegen.build.bundle import bundle_problems
from imagegen.build.options import Options, secrets_for
from imagegen.cluster.cluster import Cluster, Identity
from imagegen.documents.landing import clashes, landings
from imagegen.etcd.advisories import release_problems
from imagegen.etcd.variables import check_combination
from imagegen.pki.imports import read_imports
from imagegen.pki.model import Imported
from imagegen.spec.model import Spec, own_settings
from imagegen.spec.read import parse_spec
from imagegen.spec.secrets import Secrets
from imagegen.targets import load_target, payload

#: More than this is no spec: a spec of 1,000 members is a tenth of it.
LARGEST_SPEC = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSpec:
    """A spec that was read and found good, with what it brings along."""

    path: Path
    spec: Spec
    imported: Imported | None = field(repr=False)
    warnings: tuple[Problem, ...]


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
        if target.secrets == Secrets.EMBED or secrets_for(target, spec, options) != Secrets.EMBED:
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
