"""Clusters of real etcd, formed from nothing but what `imagegen build` wrote."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from imagegen.etcd.variables import Version
from tests.conftest import EXAMPLES, require_program

from .brought import CLIENT, SERVER, BroughtCa
from .lab import PATH, Lab, Member, Pair, eventually, formed

pytestmark = pytest.mark.etcd

# --- the clusters ---------------------------------------------------------------------


def example(name: str) -> str:
    return (EXAMPLES / f"{name}.yaml").read_text()


@dataclass(frozen=True, kw_only=True)
class Case:
    """A cluster to form: its spec, for any etcd or for each, and what its operator brings."""

    spec: str | Callable[[str], str]
    bring: Callable[[Path], None] = lambda folder: None

    @contextmanager
    def form(self, etcd: str, folder: Path) -> Iterator[Lab]:
        """The cluster, running this etcd."""
        self.bring(folder)
        spec = self.spec if isinstance(self.spec, str) else self.spec(etcd)
        with formed(spec, etcd, folder) as lab:
            yield lab


SMALLEST = example("smallest")
SHARED = f"""{SMALLEST}
pki:
  layout: shared
  allow_shared_key: true
  imports:
    ca_certificate: ca.pem
    shared: {{certificate: kubernetes.pem, key: kubernetes-key.pem}}
    client: {{certificate: admin.pem, key: admin-key.pem}}
"""
OWN_CA = f"""{SMALLEST}
pki:
  layout: lab
  imports:
    ca: {{certificate: ca.pem, key: ca-key.pem}}
"""
OWN_CAS = f"""{SMALLEST}
pki:
  imports:
    ca: {{certificate: ca.pem, key: ca-key.pem}}
    peer_ca: {{certificate: peer-ca.pem, key: peer-ca-key.pem}}
"""


def bring_pair(folder: Path) -> None:
    """The lab's way: one certificate for all members, with every address in it."""
    ca = BroughtCa(folder)
    numbers = range(1, 4)
    names = [*(f"small-{n}" for n in numbers), "localhost"]
    addresses = [*(f"192.0.2.1{n}" for n in numbers), "127.0.0.1", "::1"]
    ca.issue("kubernetes", usages=(SERVER, CLIENT), names=names, addresses=addresses)
    # As cfssl's profile does: a client that may be a server too. Not its usage
    # but its name alone keeps it from the peer port.
    ca.issue("admin", usages=(SERVER, CLIENT))


def bring_ca(folder: Path) -> None:
    BroughtCa(folder)


def bring_cas(folder: Path) -> None:
    BroughtCa(folder)
    BroughtCa(folder, "peer-ca")


def of(algorithm: str) -> str:
    return f"{SMALLEST}\npki: {{algorithm: {algorithm}}}\n"


def hardened(etcd: str) -> str:
    """The example, with the settings that this etcd knows."""
    spec = yaml.safe_load(example("hardened"))
    settings = spec["etcd"]["settings"]
    if etcd == "3.4":
        del settings["ETCD_TLS_MIN_VERSION"]  # it came with 3.4.25
    if Version.parse(etcd).minor >= 7:
        del settings["ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK"]
        settings["ETCD_FEATURE_GATES"] = "InitialCorruptCheck=true"
    spec["secrets"] = "embed"  # keys on a disk of their own are for first boot to find
    return yaml.safe_dump(spec)


CASES = {
    "five members": Case(spec=example("icc-etcd")),
    "separate": Case(spec=SMALLEST),
    "ecdsa-p384": Case(spec=of("ecdsa-p384")),
    "ed25519": Case(spec=of("ed25519")),
    "rsa-2048": Case(spec=of("rsa-2048")),
    "rsa-3072": Case(spec=of("rsa-3072")),
    "IPv6": Case(spec=example("three-members-ipv6")),
    "shared pair": Case(spec=SHARED, bring=bring_pair),
    "brought CA": Case(spec=OWN_CA, bring=bring_ca),
    "brought CAs": Case(spec=OWN_CAS, bring=bring_cas),
    # Its peers have a network of their own.
    "hardened": Case(spec=hardened),
}


@pytest.fixture(scope="module", params=CASES)
def lab(
    request: pytest.FixtureRequest, etcd: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lab]:
    """A formed cluster; the tests of one share it."""
    with CASES[request.param].form(etcd, tmp_path_factory.mktemp("cluster")) as lab:
        yield lab


# --- what is promised of each ---------------------------------------------------------


def test_ids_are_the_predicted_ones(lab):
    """The manifest knew them before any member was started."""
    found = json.loads(lab.etcdctl("member", "list", "-w", "json"))
    assert {m["name"]: m["ID"] for m in found["members"]} == {
        member.name: member.member_id for member in lab.members
    }
    assert found["header"]["cluster_id"] == int(lab.manifest["cluster_id"], 16)


def test_urls_are_the_advertised_ones(lab):
    """Every member has published itself, once, where the manifest says."""
    found = json.loads(lab.etcdctl("member", "list", "-w", "json"))
    assert {m["name"]: (m["peerURLs"], m["clientURLs"]) for m in found["members"]} == {
        member.name: ([member.peer_url], [member.client_url]) for member in lab.members
    }


def test_every_member_reads_what_was_written(lab):
    """Over https at its advertised client URL, each alone."""
    lab.etcdctl("put", "greeting", "hello")
    for member in lab.members:
        read = lab.etcdctl("get", "greeting", "--print-value-only", ENDPOINTS=member.client_url)
        assert read == "hello"


def test_settings_for_etcdctl_work_as_their_file_says(lab):
    """The line at its top, typed into a shell, lists the members, and no setting is minded."""
    text = (lab.client / "etcdctl.env").read_text()
    line, *_ = re.findall(r"^#   (.*etcdctl.*)$", text, re.MULTILINE)
    listed = lab.shell(line)
    assert listed.returncode == 0, listed.stderr
    assert listed.stderr == ""
    # From 3.7 on the lines between the cells are box characters.
    rows = [re.split(r"\s*[|│]\s*", row) for row in listed.stdout.splitlines()]
    assert {row[3]: (row[1], row[2]) for row in rows if "started" in row} == {
        entry["name"]: (entry["member_id"], "started") for entry in lab.manifest["members"]
    }


def test_members_know_each_other_by_name(lab):
    """On a member, names resolve by its /etc/hosts, and certificates carry them."""
    here, there = lab.members[:2]
    for url in (with_host(there.client_url, there.name), with_host(here.client_url, "localhost")):
        answer = here.curl(
            f"{url}/health",
            ca=here.settings["ETCD_TRUSTED_CA_FILE"],
            credential=lab.client_credential,
        )
        assert_healthy(answer)


def assert_healthy(answer: subprocess.CompletedProcess[str]) -> None:
    assert json.loads(answer.stdout or "{}").get("health") == "true", answer.stderr


def with_host(url: str, host: str) -> str:
    return re.sub("//.*:", f"//{host}:", url)


def test_json_gateway_answers(lab):
    """It dials its own server, so it works only if the server's certificate is a client's too."""
    for member in lab.members:
        answer = lab.operator.curl(
            f"{member.client_url}/v3/cluster/member/list",
            ca=lab.client / "ca.pem",
            credential=lab.client_credential,
            data="{}",
        )
        found = json.loads(answer.stdout or "{}")
        assert {int(m["ID"]) for m in found.get("members", ())} == {
            member.member_id for member in lab.members
        }, answer.stdout + answer.stderr


# etcd goes on after all of these, so only its log tells.
COMPLAINTS = re.compile("unrecognized environment variable|x509|bad certificate|tls: ")


def complaints(log: str) -> list[str]:
    return [line for line in log.splitlines() if COMPLAINTS.search(line)]


def test_nobody_complains(lab):
    """No setting is unknown, and no handshake failed while the cluster formed."""
    for name, log in lab.formation.items():
        assert complaints(log) == [], name


def test_an_unknown_setting_is_complained_of(etcd, tmp_path):
    """The control of the test above; failed handshakes are its control further below."""
    # Ends at once, for its URL is none.
    settings = {"ETCD_LISTEN_PEER_URLS": "nowhere", "ETCD_LOGGER": "zap", "ETCD_SPELT": "wrong"}
    said = subprocess.run(
        [require_program(f"etcd-{etcd}")],
        env={"PATH": PATH, **settings}, cwd=tmp_path, timeout=30,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert [line for line in complaints(said.stdout + said.stderr) if "ETCD_SPELT" in line]


# --- who is refused -------------------------------------------------------------------


def assert_refused(answer: subprocess.CompletedProcess[str]) -> None:
    """By the other side, in the handshake: not for want of a route or of a server."""
    assert answer.returncode != 0, answer.stdout
    assert "alert" in answer.stderr


def forged(folder: Path, name: str, addresses: Iterable[str] = ()) -> Pair:
    """A credential that lacks nothing but the right CA's signature."""
    BroughtCa(folder).issue(name, usages=(SERVER, CLIENT), addresses=addresses)
    return folder / f"{name}.pem", folder / f"{name}-key.pem"


def server_credential(member: Member) -> Pair:
    return member.settings["ETCD_CERT_FILE"], member.settings["ETCD_KEY_FILE"]


def test_the_client_port_is_for_clients_of_this_cluster(lab, tmp_path):
    member = lab.members[0]

    def ask(credential: Pair | None) -> subprocess.CompletedProcess[str]:
        url = f"{member.client_url}/health"
        return lab.operator.curl(url, ca=lab.client / "ca.pem", credential=credential)

    assert_healthy(ask(lab.client_credential))
    assert_refused(ask(None))
    assert_refused(ask(forged(tmp_path, "client")))
    eventually(lambda: complaints(member.log) != [], "the refusal in the log")


def test_the_peer_port_is_for_members_of_this_cluster(lab, tmp_path):
    """All ask from a member's own address: nothing but their credentials differ."""
    here, there = lab.members[:2]

    def ask(credential: Pair | None) -> subprocess.CompletedProcess[str]:
        ca = here.settings["ETCD_PEER_TRUSTED_CA_FILE"]
        return here.curl(f"{there.peer_url}/members", ca=ca, credential=credential)

    answer = ask(here.peer_credential)
    names = {member["name"] for member in json.loads(answer.stdout or "[]")}
    assert names == {member.name for member in lab.members}, answer.stderr

    assert_refused(ask(None))
    common_name = here.settings.get("ETCD_PEER_CERT_ALLOWED_CN", here.name)
    assert_refused(ask(forged(tmp_path, common_name, here.addresses)))
    clients = [entry["name"] for entry in lab.manifest["clients"]]
    assert "client" in clients
    for name in clients:
        assert_refused(ask((lab.client / f"{name}.pem", lab.client / f"{name}-key.pem")))
    if lab.manifest["layout"] == "separate":
        assert_refused(ask(server_credential(here)))
    eventually(lambda: complaints(there.log) != [], "the refusal in the log")


def test_a_member_with_a_certificate_of_the_client_ca_stays_out(etcd, tmp_path):
    """Even its own server certificate does not make it a peer; its peer certificate does."""
    with formed(SMALLEST, etcd, tmp_path) as lab:
        *others, member = lab.members
        certificate, key = server_credential(member)
        member.kill()
        member.start(ETCD_PEER_CERT_FILE=certificate, ETCD_PEER_KEY_FILE=key)
        source = f'"remote-addr":"{member.addresses[0]}:'
        eventually(
            lambda: all(source in "".join(complaints(other.log)) for other in others),
            "the others refuse it",
        )
        ask = ("endpoint", "health", "--command-timeout=2s")
        assert lab.try_etcdctl(*ask, ENDPOINTS=member.client_url).returncode != 0
        member.kill()
        member.start()
        lab.wait_until_healthy()


def test_a_named_clients_common_name_is_its_etcd_user(etcd, tmp_path):
    """With authentication on, each caller may do what its user may; without a user, nothing."""
    with CASES["hardened"].form(etcd, tmp_path) as lab:
        backup = {"CERT": "backup.pem", "KEY": "backup-key.pem"}
        prometheus = {"CERT": "prometheus.pem", "KEY": "prometheus-key.pem"}
        read, write = ("get", "app/key", "--print-value-only"), ("put", "app/key", "other")
        for command in (
            "put app/key value",
            "user add root --no-password",
            "user grant-role root root",
            "user add backup --no-password",
            "role add reader",
            "role grant-permission reader read app/ --prefix",
            "user grant-role backup reader",
        ):
            lab.etcdctl(*command.split())
        assert lab.etcdctl(*read, **prometheus) == "value"
        lab.etcdctl("auth", "enable")
        assert lab.etcdctl(*read, **backup) == "value"
        assert "permission denied" in lab.try_etcdctl(*write, **backup).stderr
        assert "permission denied" in lab.try_etcdctl(*read, **prometheus).stderr


# --- what happens to members ----------------------------------------------------------


def test_a_killed_member_rejoins(lab):
    """Even the leader: with its ID, and with what was written while it was down."""
    first, *_ = json.loads(lab.etcdctl("endpoint", "status", "-w", "json"))
    leader = first["Status"]["leader"]
    [victim] = [member for member in lab.members if member.member_id == leader]
    others = [member.client_url for member in lab.members if member is not victim]
    victim.kill()
    # What is proposed to a leader just gone is lost, and etcdctl does not try again.
    write = ("put", "meanwhile", "written", "--command-timeout=1s")
    eventually(
        lambda: lab.try_etcdctl(*write, ENDPOINTS=",".join(others)).returncode == 0,
        "a write without the former leader",
    )
    victim.start()
    lab.wait_until_healthy()
    alone = {"ENDPOINTS": victim.client_url}
    # Serializable: what this member has itself, without asking the others.
    own = ("get", "meanwhile", "--consistency=s", "--print-value-only")
    assert lab.etcdctl(*own, **alone) == "written"
    [status] = json.loads(lab.etcdctl("endpoint", "status", "-w", "json", **alone))
    assert status["Status"]["header"]["member_id"] == victim.member_id
