"""Giving a cluster its identity and keys: from its store, or made for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from imagegen.base.problems import Problem
from imagegen.build.load import LoadedSpec
from imagegen.build.options import Options
from imagegen.cluster.cluster import Cluster, Restored
from imagegen.pki.issue import issue_pki
from imagegen.pki.model import Pki
from imagegen.store.identity import identity_for
from imagegen.store.record import Record, record_of
from imagegen.store.store import Store, Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A cluster whose identity and keys are in its store; ``directory`` is its spec's."""

    cluster: Cluster
    pki: Pki
    directory: Path
    notes: tuple[str, ...]
    warnings: tuple[Problem, ...]


def prepare(loaded: LoadedSpec, options: Options) -> Prepared:
    """Give a cluster its identity and keys: from its store, made where missing, and kept.

    Raises:
        ImagegenError: the spec contradicts the store, a credential no longer
            fits, or the store cannot be written.
    """
    store = Store(options.pki, loaded.spec.cluster)
    with store.locked():
        return prepared_in(store, loaded, options)


def prepared_in(store: Store, loaded: LoadedSpec, options: Options) -> Prepared:
    """:func:`prepare` for who holds the store's lock already."""
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
