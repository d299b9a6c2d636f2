"""A cluster's life after first boot: the commands that serve it, while a client writes.

These are drills like those in :mod:`tests.machines.drill`: each takes a cluster
that is whole, and leaves it whole. The commands are called where the members
are, as an operator would on a machine of their network.
"""

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable

from . import drill
from .cluster import FIRST_BOOT, LATER_BOOT, Cluster, Member
from .drill import require
from .host import BootError
from .site import Site, example
from .writer import check_nothing_lost, writing

#: Where __main__ builds the cluster that drills share.
SHARED = "cluster"


def imagegen(cluster: Cluster, site: Site, *argv: str, folder: str = SHARED) -> str:
    """Call the program on the LAN with the files of the cluster's build; what it prints."""
    work = site.work / folder
    command = (sys.executable, "-m", "imagegen", *argv)
    done: subprocess.CompletedProcess[str] = cluster.network.client(
        "sh", "-c", 'cd "$0" && exec "$@"', str(work), *command, timeout=900
    )
    if done.returncode:
        raise BootError(f"imagegen {' '.join(argv)}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def status(cluster: Cluster, site: Site) -> str:
    """`imagegen status` finds nothing wrong, with the members and IDs that are there."""
    said = json.loads(imagegen(cluster, site, "status", "spec.yaml", "--json"))
    require(said["healthy"], f"not healthy: {said['problems']}")
    found = {member["name"]: member["member_id"] for member in said["members"]}
    require(found == {m.name: m.member_id for m in cluster.members}, f"members: {found}")
    return f"revision {said['highest']['now']['revision']}, {len(found)} members"


def replaced(cluster: Cluster, site: Site) -> str:
    """A member's disk is lost; it is replaced while a client writes, and no write is lost."""
    lost = cluster.members[-1]
    output = cluster.client.parent
    with writing(cluster, site.work / "replaced.log") as writer:
        lost.machine.power_off()
        lost.machine.wipe()
        before = len(writer.writes().acknowledged)
        cluster.wait(
            lambda: len(writer.writes().acknowledged) > before + 3, "writes go on", LATER_BOOT
        )
        plan = imagegen(cluster, site, "member", "replace", "spec.yaml", lost.name, "--dry-run")
        require("remove" in plan, f"the plan: {plan}")
        imagegen(cluster, site, "member", "replace", "spec.yaml", lost.name)
        lost.machine.power_on()
        lost.machine.wait_for_line(
            rf"{lost.state_line('starting')} follow: .*it is a learner", FIRST_BOOT
        )
        imagegen(cluster, site, "member", "replace", "spec.yaml", lost.name, "--wait", "5m")
        cluster.wait_for_state("healthy", [lost])
        cluster.pause(5)
    writes = writer.writes()
    manifest = json.loads((output / "manifest.json").read_text())
    # Whom the cluster lists now is known by another ID.
    [entry] = [e for e in manifest["members"] if e["name"] == lost.name]
    require(entry["member_id"] != lost.member_id, "it came back under its old ID")
    cluster.members[-1] = dataclasses.replace(lost, member_id=entry["member_id"])
    drill.check_membership(cluster)
    drill.check_first_boot(cluster.members[-1])
    check_nothing_lost(cluster, writes)
    return str(writes)


def renewed(cluster: Cluster, site: Site) -> str:
    """Every leaf is renewed and served without a restart, and no request is lost for it."""
    before = _served(cluster)
    started = [_started(member) for member in cluster.members]
    with writing(cluster, site.work / "renewed.log") as writer:
        imagegen(cluster, site, "certs", "renew", "spec.yaml")
        apply_all(cluster, "renew")
        cluster.pause(5)
    writes = writer.writes()
    after = _served(cluster)
    require(not before & after, f"still served: {before & after}")
    require(started == [_started(member) for member in cluster.members], "etcd was restarted")
    require(not writes.failed, f"{writes}")
    check_nothing_lost(cluster, writes)
    drill.check_membership(cluster)
    return str(writes)


def rotated(cluster: Cluster, site: Site) -> str:
    """The CA is replaced by a rolling restart, with a quorum at all times."""
    old = (cluster.client / "ca.pem").read_text()
    with writing(cluster, site.work / "rotated.log") as writer:
        for step in (1, 2, 3):
            shown = imagegen(
                cluster, site, "certs", "rotate-ca", "spec.yaml", *(["--next"] * (step > 1))
            )
            require(f"-> step {step} of 3" in shown, shown)
            order = re.findall(r"rotate-ca/([^/]+)/apply\.sh", shown)
            # Callers first: the writer reads its files at each write.
            imagegen(cluster, site, "build", "spec.yaml", "--force")
            apply_all(cluster, "rotate-ca", order)
        over = imagegen(cluster, site, "certs", "rotate-ca", "spec.yaml", "--next")
        require("is over" in over, over)
        cluster.pause(5)
    writes = writer.writes()
    new = (cluster.client / "ca.pem").read_text()
    require(new.count("BEGIN CERTIFICATE") == 1, "callers still trust two CAs")
    require(new != old, "it is the old CA")
    drill.check_membership(cluster)
    check_nothing_lost(cluster, writes)
    require(not writes.failed, f"{writes}")
    return str(writes)


def apply_all(cluster: Cluster, kind: str, order: list[str] | None = None) -> None:
    """Run each member's script on it, one after another, as the command said."""
    members = {member.name: member for member in cluster.members}
    for name in order or members:
        member = members[name]
        script = (cluster.client.parent / kind / name / "apply.sh").read_text()
        member.machine.agent.write("/root/apply.sh", script)
        done = member.machine.agent.run("/bin/sh", "/root/apply.sh", timeout=LATER_BOOT)
        said = done.stdout + done.stderr
        if done.returncode:
            said += member.sh("journalctl --boot --unit etcd --lines 20 --no-pager --output cat")
        require(done.returncode == 0 and ": done" in said, f"{name}: {said}")


def _served(cluster: Cluster) -> set[str]:
    """The serials of the certificates that members serve at both ports."""
    serials = set()
    for member in cluster.members:
        client = member.client_url.removeprefix("https://")
        for port in (client, client.replace(":2379", ":2380")):
            said = cluster.network.client(
                "sh", "-c", 'openssl s_client -connect "$0" </dev/null 2>/dev/null '
                "| openssl x509 -noout -serial", port,
            )  # fmt: skip
            require(said.stdout.startswith("serial="), f"{port}: {said.stderr}")
            serials.add(said.stdout.strip())
    return serials


def _started(member: Member) -> str:
    return member.sh("systemctl show --value -p ExecMainStartTimestampMonotonic etcd.service")


def restored(site: Site) -> str:
    """A cluster's snapshot becomes a whole new cluster, on new machines."""
    spec = example(3)
    with site.cluster(site.build("restored", spec)) as cluster:
        drill.form(cluster, seed=0, stagger=0)
        for number in range(20):
            drill.put(cluster, f"kept {number}")
        old = cluster.cluster_id
        imagegen(cluster, site, "snapshot", "save", "spec.yaml", "before.db", folder="restored")
        drill.put(cluster, "after the snapshot")
    spec["token"] = "a-new-one"
    output = site.build("restored", spec, "--new-cluster", "--from-snapshot", "before.db")
    with site.cluster(output) as cluster:
        require(cluster.cluster_id != old, "the new cluster has the old one's ID")
        for member in cluster.members:
            member.machine.extra = output / "snapshot.iso"
        cluster.power_on(seed=0, stagger=0)
        cluster.wait_for_state("healthy")
        drill.check_membership(cluster)
        for member in cluster.members:
            drill.wait_for_copy(cluster, member, "kept 19")
        drill.check_reads(cluster, "a new life")
    return f"cluster {old} lives on as {cluster.cluster_id}"


LIFE: dict[str, Callable[[Cluster, Site], str]] = {
    "status": status,
    "replaced": replaced,
    "renewed": renewed,
    "rotated": rotated,
}
