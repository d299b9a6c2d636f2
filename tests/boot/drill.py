"""What can happen to a cluster, and what its owner would see."""

import json
from dataclasses import asdict, dataclass

from .cluster import CLOUD_INIT_DONE, FIRST_BOOT, Cluster, Member
from .host import BootError


@dataclass(frozen=True)
class Figures:
    """What one member's first boot took, in seconds after its power-on, and in MiB."""

    member: str
    cloud_init_done: float
    healthy: float
    memory: int


def require(holds: object, what: str) -> None:
    """Raise unless what was promised holds; `assert` would say less, and can be turned off."""
    if not holds:
        raise BootError(what)


def form(cluster: Cluster, *, seed: int, stagger: float) -> list[Figures]:
    """Power on in any order; every member becomes healthy in the cluster that was predicted."""
    cluster.power_on(seed=seed, stagger=stagger)
    cluster.wait_for_state("healthy")
    figures = []
    for member in cluster.members:
        done = member.machine.wait_for_line(CLOUD_INIT_DONE, FIRST_BOOT)
        healthy = member.machine.console.find(member.state_line("healthy"))
        assert healthy  # it was waited for
        start = member.machine.powered_on
        figures.append(
            Figures(
                member=member.name,
                cloud_init_done=round(done.time - start, 1),
                healthy=round(healthy.time - start, 1),
                memory=member.machine.memory_used(),
            )
        )
        check_first_boot(member)
    check_membership(cluster)
    check_reads(cluster, "formed")
    return figures


def check_first_boot(member: Member) -> None:
    """cloud-init has nothing to complain of, and the member knows itself to be healthy."""
    read = member.machine.agent.read
    result = json.loads(read("/run/cloud-init/result.json") or "{}")
    require(result.get("v1", {}).get("errors") == [], f"{member.name}: cloud-init: {result}")
    status = json.loads(read("/run/cloud-init/status.json") or "{}").get("v1", {})
    for stage, facts in status.items():
        # From 23.4 on; deprecations are among them.
        complaints = facts.get("recoverable_errors") if isinstance(facts, dict) else None
        require(not complaints, f"{member.name}: cloud-init {stage}: {complaints}")
    state = member.result()
    require(state.get("state") == "healthy", f"{member.name}: {state}")
    require(state.get("member_id") == member.member_id, f"{member.name}: {state}")


def check_membership(cluster: Cluster) -> None:
    """etcdctl, with the client credential that was built, sees exactly the predicted members."""
    said = cluster.etcdctl("member", "list", "-w", "json")
    require(said.returncode == 0, f"member list: {said.stderr}")
    listing = json.loads(said.stdout)
    ids = {f"{member['ID']:x}": member for member in listing["members"]}
    require(
        f"{listing['header']['cluster_id']:x}" == cluster.cluster_id,
        f"cluster ID {listing['header']['cluster_id']:x}, predicted {cluster.cluster_id}",
    )
    require(
        set(ids) == {member.member_id for member in cluster.members},
        f"members {sorted(ids)}",
    )
    for member in cluster.members:
        require(ids[member.member_id].get("clientURLs") == [member.client_url], f"{ids}")


def check_reads(cluster: Cluster, value: str) -> None:
    """A write is read back from each member alone, at its advertised address."""
    said = cluster.etcdctl("put", "/proof", value)
    require(said.returncode == 0, f"put: {said.stderr}")
    for member in cluster.members:
        said = cluster.etcdctl("get", "/proof", "--print-value-only", members=[member])
        require(said.stdout.strip() == value, f"get from {member.name}: {said.stdout}{said.stderr}")


def as_table(figures: list[Figures]) -> str:
    """The figures for people."""
    lines = [f"{'member':<14} {'cloud-init done':>16} {'healthy':>9} {'MiB':>5}"]
    lines += [
        f"{f.member:<14} {f.cloud_init_done:>14.1f} s {f.healthy:>7.1f} s {f.memory:>5}"
        for f in figures
    ]
    return "\n".join(lines)


def as_json(figures: list[Figures]) -> str:
    """The figures for programs."""
    return json.dumps([asdict(f) for f in figures], indent=2) + "\n"
