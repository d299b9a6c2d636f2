"""Refusing a client before its certificate ends.

etcd reads its ETCD_CLIENT_CRL_FILE at every handshake on the client port. It
looks for the serial of each certificate the caller shows, and at nothing else:
not at the list's signature, issuer or dates (client/pkg/transport,
listener_tls.go, checkCRL). A list that cannot be read or decoded refuses
everybody. The name of the file is a setting, read when etcd starts.

A connection that stands is not looked at again: it ends when either side is
restarted. Peers are not affected, for the peer port has a list of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from imagegen.base.problems import Problem, Severity, raise_errors
from imagegen.build.load import LoadedSpec
from imagegen.build.options import Options
from imagegen.cluster.cluster import Cluster
from imagegen.day2.certificates import clients_of
from imagegen.day2.delivery import Delivery, revocation_list, write_deliveries
from imagegen.documents.names import REVOKE
from imagegen.documents.templates import Templates
from imagegen.etcd.advisories import CRL_IGNORED, first_with
from imagegen.pki.model import Pki
from imagegen.pki.pem import certificates_in, revoked_in
from imagegen.pki.sign import sign_crl
from imagegen.spec.model import Spec
from imagegen.store.identity import identity_for
from imagegen.store.store import Store, Stored

SETTING = "ETCD_CLIENT_CRL_FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """A list of revoked certificates that is in the store, or with ``--dry-run`` would be."""

    cluster: Cluster
    pki: Pki = field(repr=False)
    #: Serials that were not on it before, by client.
    added: Mapping[str, tuple[int, ...]]
    #: How many are on it.
    length: int
    warnings: tuple[Problem, ...]
    directory: Path


def revoke(
    loaded: LoadedSpec,
    options: Options,
    clients: Iterable[str],
    *,
    directory: Path | None = None,
    announce: Callable[[Revoked], object] = id,
    dry_run: bool = False,
) -> Revoked:
    """Put all certificates a client ever had on the list, for good; write the members' scripts.

    Clients are of the store, also such as the spec has dropped. What was
    revoked before is not an error: the scripts are written anew.

    Raises:
        ImagegenError: there is no such client, or nobody to sign the list.
    """
    store = Store(options.pki, loaded.spec.cluster)
    with store.opened() as stored:
        ever = store.clients_ever()
        plan = _revoked(loaded, options, {name: ever.get(name, ()) for name in clients}, stored)
        plan = replace(plan, directory=directory or plan.directory)
        announce(plan)
        if dry_run:
            return plan
        store.save(stored.record, plan.pki)
        cluster, crl = plan.cluster, plan.pki.crl_pem
        assert crl is not None  # for mypy: it has just been made
        deliveries = [
            Delivery(
                purpose="Revoked clients",
                member=member,
                crl=revocation_list(cluster, crl),
                settings={SETTING: cluster.crl_path},
            )
            for member in cluster.members
        ]
        write_deliveries(cluster, deliveries, plan.directory, Templates(options.templates))
    return plan


def _revoked(
    loaded: LoadedSpec,
    options: Options,
    clients: Mapping[str, Iterable[str]],
    stored: Stored,
) -> Revoked:
    spec, pki = loaded.spec, stored.pki
    cluster = Cluster(spec=spec, identity=identity_for(spec, stored.record, now=options.now))
    problems = [
        Problem(
            where="--client",
            what=f"{name} has no certificate in the store",
            hint=f"clients: {', '.join(sorted(clients_of(pki)))}",
        )
        for name, certificates in clients.items()
        if not certificates
    ]
    own = spec.etcd.settings.get(SETTING)
    if own is not None:
        problems.append(
            Problem(
                where="etcd.settings",
                what=f"{SETTING} is {own}, a list of your own",
                hint="revoke there, or remove the setting",
            )
        )
    raise_errors(problems)
    before = revoked_in(pki.crl_pem)
    added: dict[str, tuple[int, ...]] = {}
    for name, certificates in clients.items():
        serials = {certificates_in(text)[0].serial_number for text in certificates}
        if new := serials - before.keys():
            added[name] = tuple(sorted(new))
    if added:
        since = options.now.replace(microsecond=0)
        new = {serial for serials in added.values() for serial in serials}
        everything = {**before, **dict.fromkeys(sorted(new), since)}
        crl = sign_crl(pki.ca, everything, now=since, passphrase=options.passphrase)
        pki = replace(pki, crl_pem=crl)
    return Revoked(
        cluster=cluster,
        pki=pki,
        added=added,
        length=len(revoked_in(pki.crl_pem)),
        warnings=(*loaded.warnings, *stored.warnings, *_without_effect(spec)),
        directory=options.output / cluster.name / REVOKE,
    )


def _without_effect(spec: Spec) -> Iterator[Problem]:
    """That the members' etcd lets revoked clients in all the same."""
    version = spec.etcd_version
    if CRL_IGNORED.concerns(version, spec.etcd.settings):
        first = first_with([CRL_IGNORED], version)
        # A branch alone, "3.6", leaves open whether its members have the fix.
        which = f"etcd {version}" if spec.etcd_release else f"etcd {version.branch} before {first}"
        unless = ", unless its package has the fix" if spec.package_tracker else ""
        yield Problem(
            where=CRL_IGNORED.setting,
            what=f"with it, {which} ignores the list at the port for gRPC "
            f"({CRL_IGNORED.name}): the revocation has no effect there{unless}",
            hint=f"run etcd {first} or newer, or take the setting off every member",
            severity=Severity.WARNING,
        )
