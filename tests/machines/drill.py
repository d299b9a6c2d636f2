"""What can happen to a cluster, and what its owner would see.

Each drill takes a cluster that is whole, leaves it whole, and says in a few
words what it saw.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from .cluster import CLOUD_INIT_DONE, FIRST_BOOT, LATER_BOOT, Cluster, Member
from .host import BootError
from .site import Site, example


@dataclass(frozen=True)
class Figures:
    """What one member's first boot took, in seconds after its power-on, and in MiB."""

    member: str
    cloud_init_done: float
    healthy: float
    memory: int
    steps: dict[str, float]
    """Seconds of each step of first boot, as the member has them on record."""


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
                steps=member.result()["seconds"],
            )
        )
        check_first_boot(member)
    check_membership(cluster)
    check_reads(cluster, "formed")
    return figures


# --- checks ---------------------------------------------------------------------------


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
    said = member.sh("cloud-init status || true")
    require("status: done" in said, f"{member.name}: cloud-init {said}")
    # Before 23.4 the log is the only place for them.
    deprecated = member.sh("grep -i deprecat /var/log/cloud-init.log || true")
    require(not deprecated, f"{member.name}: {deprecated}")
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
    cluster.found.add(cluster.members[0].software())


def check_reads(cluster: Cluster, value: str) -> None:
    """A write is read back from each member alone, at its advertised address."""
    put(cluster, value)
    for member in cluster.members:
        said = cluster.etcdctl("get", KEY, "--print-value-only", members=[member])
        require(said.stdout.strip() == value, f"get from {member.name}: {said.stdout}{said.stderr}")


def check_refused(member: Member) -> None:
    """The member has stopped for good, and both its result and its console say what to do."""
    result = member.result()
    require(result.get("state") == "refused", f"{member.name}: {result}")
    replace = f"imagegen member replace {member.name}"
    require(replace in result["hint"], f"{member.name}: {result}")
    line = member.machine.console.find(member.state_line("refused"))
    require(line and replace in line.text, f"{member.name}: the console does not say {replace}")
    check_not_started(member)


def check_not_started(member: Member) -> None:
    """No etcd runs, none will, and none has left anything in its directory."""
    require(not member.sh("pidof etcd || true"), f"{member.name}: etcd runs")
    # systemd tries once more, five seconds later, and finds the gate shut.
    ended = ("inactive", "failed")
    member.machine.wait(
        lambda: member.sh("systemctl is-active etcd.service || true").strip() in ended,
        "gives up etcd.service",
        60,
    )
    # Where etcd is not installed yet there is no such directory.
    logs = member.sh("find /var/lib/etcd -name '*.wal' 2>/dev/null || true")
    require(not logs, f"{member.name}: etcd has started: {logs}")


# --- what a client does ---------------------------------------------------------------

KEY = "/proof"


def put(cluster: Cluster, value: str, members: Sequence[Member] | None = None) -> None:
    """A write that must be acknowledged."""
    said = cluster.etcdctl("put", KEY, value, members=members)
    require(said.returncode == 0, f"put: {said.stderr}")


def _accepted(cluster: Cluster, value: str, members: Sequence[Member]) -> bool:
    """Whether a write is acknowledged; by a cluster that may be about to elect its leader."""
    return cluster.etcdctl("put", KEY, value, members=members).returncode == 0


def wait_for_copy(cluster: Cluster, member: Member, value: str) -> None:
    """Wait until the member's own copy of the data has a value: it asks no other for this."""
    local = ("get", KEY, "--consistency=s", "--print-value-only")
    cluster.wait(
        lambda: cluster.etcdctl(*local, members=[member]).stdout.strip() == value,
        f"{member.name} has {value!r}",
        LATER_BOOT,
    )


# --- the drills -----------------------------------------------------------------------


def refusals(cluster: Cluster, site: Site) -> str:
    """Clients and peers without the right certificate are refused; each right one is not."""
    # All that is wrong with these is who signed them: names and addresses are the same.
    stranger = site.build("stranger", example(len(cluster.members)))
    tries = 0
    for member in cluster.members:
        for client, welcome in (
            (cluster.client, True),
            (stranger / "client", False),
            (None, False),
        ):
            _dial_as_client(cluster, member, client, welcome=welcome)
            tries += 1

    caller, *others = cluster.members
    tls = json.loads(caller.machine.agent.read("/etc/imagegen/member.json") or "")["tls"]
    credentials = {
        "member": (tls["peer_cert"], tls["peer_key"]),
        "stranger": _lend(caller, "stranger", *_member_files(stranger, caller, tls)),
        "client": _lend(
            caller,
            "client",
            *((cluster.client / name).read_text() for name in ("client.pem", "client-key.pem")),
        ),
        "nobody": ("", ""),
    }
    for other in others:
        for name, credential in credentials.items():
            _dial_as_peer(caller, other, tls["peer_ca"], *credential, welcome=name == "member")
            tries += 1
    caller.sh("rm -r /run/lent")
    return f"{tries} callers, each refused or served as it should"


def _dial_as_client(
    cluster: Cluster, member: Member, client: Path | None, *, welcome: bool
) -> None:
    files = {"--cacert": cluster.client / "ca.pem"}
    if client:
        files |= {"--cert": client / "client.pem", "--key": client / "client-key.pem"}
    # Up to TLS 1.2 a refusal is part of the handshake and cannot be missed.
    said = cluster.network.client(
        *("curl", "--silent", "--show-error", "--tls-max", "1.2", "--max-time", "20"),
        *(word for option, path in files.items() for word in (option, str(path))),
        f"{member.client_url}/health",
    )
    if welcome:
        require('"health":"true"' in said.stdout, f"{member.name} refuses a client: {said.stderr}")
    else:
        refused = said.returncode and "alert" in said.stderr and not said.stdout
        require(refused, f"{member.name} serves {client}: {said.stdout}{said.stderr}")


# As the members do, from a member's address: etcd compares it with the certificate's.
_DIAL = """
import http.client, ssl, sys
address, ca, certificate, key = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.maximum_version = ssl.TLSVersion.TLSv1_2
context.load_verify_locations(ca)
if certificate:
    context.load_cert_chain(certificate, key)
connection = http.client.HTTPSConnection(address, 2380, context=context, timeout=60)
connection.request("GET", "/members")
print(connection.getresponse().status)
"""


def _dial_as_peer(
    caller: Member, other: Member, ca: str, certificate: str, key: str, *, welcome: bool
) -> None:
    address = other.client_url.removeprefix("https://").rpartition(":")[0]
    said = caller.machine.agent.run("python3", "-c", _DIAL, address, ca, certificate, key)
    if welcome:
        require(said.stdout.strip() == "200", f"{other.name} refuses a peer: {said.stderr}")
    else:
        refused = said.returncode and "ALERT" in said.stderr and not said.stdout
        require(refused, f"{other.name} serves {certificate}: {said.stdout}{said.stderr}")


def _lend(member: Member, name: str, certificate: str, key: str) -> tuple[str, str]:
    """Put a credential into the guest; gives where it is."""
    member.sh("mkdir -p -m 700 /run/lent")
    paths = f"/run/lent/{name}.pem", f"/run/lent/{name}-key.pem"
    for path, content in zip(paths, (certificate, key), strict=True):
        member.machine.agent.write(path, content)
    return paths


def _member_files(output: Path, member: Member, tls: dict[str, str]) -> tuple[str, str]:
    """The peer credential in a member's user-data."""
    user_data = yaml.safe_load((output / "members" / member.name / "user-data").read_text())
    files = {file["path"]: file["content"] for file in user_data["write_files"]}
    return files[tls["peer_cert"]], files[tls["peer_key"]]


def minority(cluster: Cluster, _site: Site) -> str:
    """As many as may fail lose power at once, the leader among them; writes go on."""
    leader = cluster.leader()
    followers = [member for member in cluster.members if member is not leader]
    count = (len(cluster.members) - 1) // 2
    lost, kept = [leader, *followers[: count - 1]], followers[count - 1 :]
    for member in lost:
        member.machine.power_off()
    cut = time.monotonic()

    cluster.wait(lambda: _accepted(cluster, "meanwhile", kept), "writes go on", 120)
    writable = time.monotonic() - cut
    for member in lost:
        member.machine.power_on()
    back = time.monotonic()
    cluster.wait_until_serving(lost)
    for member in lost:
        wait_for_copy(cluster, member, "meanwhile")
    check_membership(cluster)
    return (
        f"{count} of {len(cluster.members)} cut: next write after {writable:.1f} s, "
        f"whole again {time.monotonic() - back:.0f} s after power-on"
    )


def majority(cluster: Cluster, _site: Site) -> str:
    """More than may fail lose power at once; no write is accepted until they are back."""
    check_reads(cluster, "before")
    count = len(cluster.members) // 2 + 1
    lost, kept = cluster.members[:count], cluster.members[count:]
    for member in lost:
        member.machine.power_off()
    for attempt in range(3):
        said = cluster.etcdctl("put", "/rejected", str(attempt), members=kept)
        require(said.returncode, f"{len(kept)} of {len(cluster.members)} accepted a write")
    for member in kept:
        wait_for_copy(cluster, member, "before")
    for member in lost:
        member.machine.power_on()
    back = time.monotonic()
    cluster.wait_until_serving()
    for member in cluster.members:
        wait_for_copy(cluster, member, "before")
    check_membership(cluster)
    check_reads(cluster, "after")
    return (
        f"{count} of {len(cluster.members)} cut: 3 writes refused, "
        f"whole again {time.monotonic() - back:.0f} s after power-on"
    )


def reboot(cluster: Cluster, _site: Site) -> str:
    """A member that reboots rejoins, and its first boot does not run again."""
    member = cluster.members[-1]
    made = "stat -c '%n %i %y' /etc/default/etcd /etc/imagegen/member.json /etc/etcd/*"
    before = member.result(), member.sh(made), identity(member)
    begun = time.monotonic()
    member.machine.console.begin_boot()
    member.machine.reboot()
    cluster.wait_until_serving([member])
    took = time.monotonic() - begun
    check_membership(cluster)
    check_reads(cluster, "rebooted")
    require(before == (member.result(), member.sh(made), identity(member)), "something ran again")
    line = member.machine.console.find("imagegen: ")
    require(not line, f"first boot ran again: {line}")
    return f"serves {took:.0f} s after the order to reboot"


def identity(member: Member) -> str:
    """What others know a machine by: addresses, routes, name, machine ID, SSH host keys."""
    return member.sh(
        "ip -brief address show scope global; ip route; "
        "cat /etc/hostname /etc/machine-id /etc/hosts /etc/ssh/ssh_host_*_key.pub"
    )


def detached(cluster: Cluster, _site: Site) -> str:
    """Without its seed a member boots as the same machine, and as the same member."""
    member = cluster.members[0]
    seed, before = member.machine.seed, (member.result(), identity(member))
    member.machine.shut_down()
    member.machine.seed = None
    member.machine.power_on()
    # For whatever boots it later.
    member.machine.seed = seed
    back = time.monotonic()
    cluster.wait_until_serving([member])
    took = time.monotonic() - back
    require(before == (member.result(), identity(member)), "it is another machine now")
    check_membership(cluster)
    check_reads(cluster, "detached")
    return f"serves {took:.0f} s after power-on"


def wiped(cluster: Cluster, _site: Site) -> str:
    """A member's disk is lost and its seed used again: its peers know it, and it is refused."""
    member, *others = cluster.members
    put(cluster, "not to be forgotten")
    member.machine.power_off()
    with member.machine.fresh_disk():
        member.machine.power_on()
        cluster.wait_for_state("refused", [member])
        took = time.monotonic() - member.machine.powered_on
        check_refused(member)
        for other in others:
            wait_for_copy(cluster, other, "not to be forgotten")
        put(cluster, "life goes on", others)
    _bring_back(cluster, member, "life goes on")
    return f"refused {took:.0f} s after power-on"


def wiped_alone(cluster: Cluster, _site: Site) -> str:
    """The same, but all others are down, and the first to return has missed the last write."""
    member, lagging, *others = cluster.members
    lagging.machine.power_off()
    # If it led, the others elect another first.
    cluster.wait(
        lambda: _accepted(cluster, "acknowledged", [member, *others]), "a write is accepted", 120
    )
    for other in (member, *others):
        other.machine.power_off()
    with member.machine.fresh_disk():
        member.machine.power_on()
        needed = (len(cluster.members) - 1) // 2 + 1
        nobody = rf"{member.state_line('waiting')} start-check: heard 0 of the {needed} others"
        member.machine.wait_for_line(nobody, FIRST_BOOT)
        require(member.result().get("state") == "waiting", f"{member.name}: {member.result()}")
        require(not member.sh("pidof etcd || true"), f"{member.name}: etcd runs")
        lagging.machine.power_on()
        cluster.wait_for_state("refused", [member])
        check_refused(member)
        for other in others:
            other.machine.power_on()
        cluster.wait_until_serving([lagging, *others])
        for other in (lagging, *others):
            wait_for_copy(cluster, other, "acknowledged")
    _bring_back(cluster, member, "acknowledged")
    return "refused on the word of the first to return; the write is still there"


def _bring_back(cluster: Cluster, member: Member, value: str) -> None:
    """With the disk that was never lost, the member is as good as ever."""
    member.machine.power_on()
    cluster.wait_until_serving([member])
    wait_for_copy(cluster, member, value)
    check_membership(cluster)


#: By the name to call them by, in the order that wears least on the cluster.
DRILLS: dict[str, Callable[[Cluster, Site], str]] = {
    "refusals": refusals,
    "reboot": reboot,
    "detached": detached,
    "minority": minority,
    "majority": majority,
    "wiped": wiped,
    "wiped-alone": wiped_alone,
}
