"""Another release for a running cluster: which may follow, and the script that brings it.

A release goes beside the one that runs, a link leads to the one that is started, and
a member is down for one restart. The way back is the same, as long as etcd allows it:
within a minor, or until the last member has left it, for then the cluster's own
version rises, and an older etcd refuses to start.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from imagegen.base.problems import ImagegenError, Problem, raise_errors
from imagegen.build.load import LoadedSpec, etcd_problems
from imagegen.build.options import Options
from imagegen.cluster.cluster import Cluster, Member
from imagegen.day2.delivery import Delivery, NewRelease, write_deliveries
from imagegen.documents import guest
from imagegen.documents.firstboot_config import identity_config, install_config
from imagegen.documents.names import UPGRADE
from imagegen.documents.templates import Templates
from imagegen.etcd.variables import Version
from imagegen.etcd.versions import upgrade_problems
from imagegen.live.client import Caller, caller_of
from imagegen.spec.model import Install
from imagegen.store.identity import identity_for
from imagegen.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """What the members run, and the scripts that bring the spec's release."""

    cluster: Cluster
    version: str
    running: Mapping[str, Version]
    #: What the members have agreed on: a minor, never older than what any of them needs.
    cluster_version: Version
    #: Members in the order to take them in: who leads is the last.
    order: tuple[str, ...]
    leader: str | None
    warnings: tuple[Problem, ...]
    directory: Path


def upgrade(
    loaded: LoadedSpec,
    options: Options,
    *,
    directory: Path | None = None,
    announce: Callable[[Upgrade], object] = id,
    dry_run: bool = False,
) -> Upgrade:
    """Look at the members, and write a script for each that has it run the spec's release.

    Raises:
        ImagegenError: etcd does not come as a release, a member does not answer,
            or the release must not follow on what they run.
    """
    spec = loaded.spec
    version = spec.install.release_version
    if version is None:
        raise ImagegenError(
            f"install.mode {spec.install.mode}: etcd does not come as a release here",
            hint="packages are upgraded by apt on each member, one member at a time",
        )
    store = Store(options.pki, spec.cluster)
    stored = store.existing()
    cluster = Cluster(spec=spec, identity=identity_for(spec, stored.record, now=options.now))
    running, at, leader = _look(cluster, caller_of(store.path))
    raise_errors(
        Problem(where=f"etcd {version}", what=what, hint=hint)
        for what, hint in upgrade_problems(running, at, Version.parse(version))
    )
    names = [member.name for member in cluster.members]
    plan = Upgrade(
        cluster=cluster,
        version=version,
        running=running,
        cluster_version=at,
        order=tuple(sorted(names, key=lambda name: (name == leader, names.index(name)))),
        leader=leader,
        warnings=(*loaded.warnings, *stored.warnings, *etcd_problems(loaded, options.now)),
        directory=directory or options.output / cluster.name / UPGRADE,
    )
    announce(plan)
    if not dry_run:
        deliveries = [_delivery(cluster, member, version) for member in cluster.members]
        write_deliveries(cluster, deliveries, plan.directory, Templates(options.templates))
    return plan


def _look(cluster: Cluster, caller: Caller) -> tuple[dict[str, Version], Version, str | None]:
    """What each member runs, the cluster's version, and who leads."""
    running, problems, leader = {}, [], None
    at = Version(0, 0)
    for member in cluster.members:
        try:
            said = caller.call(member.client_url, "/version")
            status = caller.status(member.client_url)
            running[member.name] = Version.parse(said["etcdserver"])
            at = max(at, Version.parse(said["etcdcluster"]))
        except ImagegenError as error:
            [problem] = error.problems
            hint = "a release is brought to a whole cluster, one member at a time"
            problems.append(Problem(where=member.name, what=problem.what, hint=hint))
        except (KeyError, TypeError, ValueError):
            problems.append(Problem(where=member.name, what="has no cluster version yet"))
        else:
            if status.leader == status.member_id:
                leader = member.name
    raise_errors(problems)
    return running, at, leader


def _delivery(cluster: Cluster, member: Member, version: str) -> Delivery:
    config = upgrade_config(cluster, member, cluster.spec.install)
    return Delivery(
        purpose=f"etcd {version}",
        member=member,
        release=NewRelease(version=version, config=json.dumps(config, indent=1) + "\n"),
    )


def upgrade_config(cluster: Cluster, member: Member, install: Install) -> dict[str, object]:
    """What the first-boot program fetches a release by; its report goes nowhere of its own."""
    folder = f"{guest.STATE_DIRECTORY}/{UPGRADE}"
    return {
        **identity_config(cluster, member),
        "install": install_config(install),
        "owner": guest.ETCD_USER,
        "state_dir": folder,
        "finished": f"{folder}/finished",
        "gate": f"{folder}/gate",
        "console": "/dev/null",
    }
