"""Targets for clouds: what cloud-init reads of what we packaged, as each place hands it over."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from imagegen.base.problems import ImagegenError, Severity
from imagegen.build.build import build_cluster
from imagegen.build.load import load_spec
from imagegen.build.options import Options as BuildOptions
from imagegen.build.package import plain_files
from imagegen.documents import guest
from imagegen.documents.render import NodeDocuments, render_node
from imagegen.documents.templates import Templates
from imagegen.media.encodings import Encoding
from imagegen.media.iso_reader import read_seed
from imagegen.pki.issue import issue_pki
from imagegen.targets import load_target
from imagegen.targets.config_drive import network_data
from imagegen.targets.generic import PRESETS
from imagegen.targets.payload import Options, Payload, size_problems
from tests.cloud_init import VERSIONS, merged, run_in
from tests.conftest import EXAMPLES, NOW, make_cluster, require_program
from tests.documents.test_netconfig import BOTH
from tests.documents.test_render import RENDERED, built

SECRETS = ("embed", "split", "external")
CLOUDS = ["ec2", "generic", "openstack", *(preset.name for preset in PRESETS)]
DISKS = ["config-drive", "hyper-v", "xcp-ng"]


@cache
def node(example: str, secrets: str = "embed", index: int = 0) -> NodeDocuments:
    cluster, pki = built(example)
    return render_node(cluster, cluster.members[index], pki, Templates(), secrets=secrets)


@cache
def rsa_node(secrets: str, layout: str = "lab", algorithm: str = "rsa-4096") -> NodeDocuments:
    text = (EXAMPLES / "icc-etcd.yaml").read_text()
    text = text.replace("layout: lab", f"layout: {layout}\n  algorithm: {algorithm}")
    cluster = make_cluster(text)
    one = make_cluster(
        text.replace(text[text.index("  - name: icc-etcd-2") : text.index("\nnetwork")], "")
    )
    pki = issue_pki(one, stored=None, now=NOW).pki
    return render_node(cluster, cluster.members[0], pki, Templates(), secrets=secrets)


def package(target: str, documents: NodeDocuments, **options: Any) -> Payload:
    return load_target(target).package(documents, Options(**options))


def files_of(target: str, documents: NodeDocuments, **options: Any) -> dict[str, bytes]:
    """The target's files by their names in its folder; all of them are there."""
    folder = f"{documents.folder}/{target}/"
    files = package(target, documents, **options).files
    assert all(name.startswith(folder) for name in files)
    return {name.removeprefix(folder): data for name, data in files.items()}


def assert_is_our_config(config: dict[str, Any], documents: NodeDocuments) -> None:
    """What modules see is what the member's user-data says."""
    config = {key: value for key, value in config.items() if key != "merge_how"}
    assert config == yaml.safe_load(documents.user_data)


def plain(data: bytes) -> bytes:
    """The text in a file, whatever its encoding."""
    if data.startswith(b"{"):
        return b"".join(plain(value.encode()) for value in _texts(json.loads(data)))
    with contextlib.suppress(ValueError):
        data = base64.b64decode(data, validate=True)
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


SERVER = """
import http.server, json, os, threading
os.environ["no_proxy"] = "*"

def serve(pages):
    '''A metadata service: each page under its path, nothing else.'''
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = pages.get(self.path.split("?")[0].rstrip("/"))
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(body or b"")
        def log_message(self, *arguments): pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"
raw = sys.stdin.buffer.read()
"""


# --- what all have in common ---------------------------------------------------------


@pytest.mark.parametrize("target", CLOUDS)
@pytest.mark.parametrize("secrets", SECRETS)
def test_private_keys_are_there_only_where_they_are_embedded(target, secrets):
    """Split or external, no file for the platform holds one, under whatever encoding."""
    documents = node("hardened", secrets)
    holding = [
        b"PRIVATE KEY-----" in plain(data) for data in package(target, documents).files.values()
    ]
    assert any(holding) == (secrets == "embed")


@pytest.mark.parametrize("target", DISKS)
@pytest.mark.parametrize("secrets", SECRETS)
def test_private_keys_on_disks(target, secrets):
    """The same for images."""
    documents = node("hardened", secrets)
    [image] = package(target, documents).files.values()
    held = b"".join(file.content for file in read_seed(image).files)
    assert b"#cloud-config" in held
    assert (b"PRIVATE KEY-----" in held) == (secrets == "embed")


@pytest.mark.parametrize("target", CLOUDS + DISKS)
def test_the_same_documents_give_the_same_bytes(target):
    """Nothing is taken from the clock or from chance."""
    documents = node("hardened", "split")
    assert package(target, documents).files == package(target, documents).files


@pytest.mark.parametrize("target", CLOUDS)
@pytest.mark.parametrize("example", RENDERED)
@pytest.mark.parametrize("secrets", SECRETS)
def test_every_example_fits_everywhere(target, example, secrets):
    """No example is too large for a platform; near it is only what uses every option, on EC2."""
    documents = node(example, secrets)
    found = list(size_problems(load_target(target), documents, package(target, documents)))
    assert not [problem for problem in found if problem.severity is Severity.ERROR]
    assert not found or (target, example) == ("ec2", "hardened")


@pytest.mark.parametrize("name", CLOUDS + DISKS)
def test_facts_are_stated(name):
    """Each has a source; a place where any process can read user-data gets no keys in it."""
    target = load_target(name)
    assert target.source.startswith("https://")
    expected = "embed" if name in {*DISKS, "nutanix", "multipass"} else "split"
    assert target.secrets == expected


# --- config drive --------------------------------------------------------------------


def drive_tree(documents: NodeDocuments, path: Path) -> Path:
    """The config drive's files, as a machine that mounts it sees them."""
    [image] = files_of("config-drive", documents).values()
    for file in read_seed(image).files:
        target = path / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
    return path


READ_DRIVE = """
from cloudinit import sources
from cloudinit.sources import DataSourceConfigDrive as drive
found = drive.read_config_drive(sys.argv[1] if len(sys.argv) > 1 else sys.stdin.read())
assert sources.convert_vendordata(found.get("vendordata") or {}) is None
result = {
    "version": found["version"],
    "id": found["metadata"]["instance-id"],
    "hostname": found["metadata"]["local-hostname"],
    "network": found.get("networkdata"),
    "config": merged(found["userdata"]),
}
"""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("secrets", ["embed", "split"])
@pytest.mark.parametrize("example", RENDERED)
def test_cloud_init_reads_the_config_drive(version, example, secrets, tmp_path):
    """Its own reader finds our instance-id, host name and user-data."""
    documents = node(example, secrets, 1)
    tree = drive_tree(documents, tmp_path)
    found = run_in(version, READ_DRIVE, str(tree).encode())
    assert found["version"] == 2
    assert found["id"] == documents.member.instance_id
    assert found["hostname"] == documents.member.name
    assert (found["network"] is None) == (example in ("smallest", "release"))
    assert_is_our_config(found["config"], documents)


def test_the_config_drive_is_found_by_its_label(tmp_path):
    """blkid, which cloud-init asks, sees an ISO 9660 file system called config-2."""
    program = require_program("blkid")
    [image] = files_of("config-drive", node("icc-etcd")).values()
    path = tmp_path / "config-drive.iso"
    path.write_bytes(image)
    run = subprocess.run(
        [program, "-p", "-o", "export", str(path)], capture_output=True, text=True, check=True
    )
    assert {"LABEL=config-2", "TYPE=iso9660"} <= set(run.stdout.splitlines())


NETWORKS = {
    "hardened": (EXAMPLES / "hardened.yaml").read_text(),
    "icc-etcd": (EXAMPLES / "icc-etcd.yaml").read_text(),
    "three-members-ipv6": (EXAMPLES / "three-members-ipv6.yaml").read_text(),
    "both families, names and MACs": BOTH,
    "vlan without a MAC": BOTH + "  vlan: 7\n",
    "dhcp": """\
cluster: c
members:
  - {name: a, address: 10.0.0.11, mac: "52:54:00:aa:00:01", nics: [{interface: ens4, dhcp: true}]}
  - {name: b, address: 10.0.0.12, mac: "52:54:00:aa:00:02"}
  - {name: d, address: 10.0.0.13, mac: "52:54:00:aa:00:03"}
network: {dhcp: true, dns: [10.0.0.53], search: [example.org], mtu: 1400}
""",
}

RENDER_NETWORKS = """
import json, pathlib, tempfile
from cloudinit.net import eni, netplan, network_state, networkd
from cloudinit.sources.helpers.openstack import convert_net_json

def rendered(config):
    state = network_state.parse_net_config_data(config)
    texts = {"netplan": netplan.Renderer({})._render_content(state)}
    others = {"eni": eni.Renderer({"netrules_path": None}), "networkd": networkd.Renderer({})}
    for name, renderer in others.items():
        with tempfile.TemporaryDirectory() as folder:
            renderer.render_network_state(state, target=folder)
            for path in sorted(pathlib.Path(folder).rglob("*")):
                if path.is_file():
                    texts[f"{name}/{path.name}"] = path.read_text()
    return texts
drive, ours = json.load(sys.stdin)
result = [rendered(convert_net_json(drive, known_macs={})), rendered(ours)]
"""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_config_drive_means_our_network(version, network):
    """Every renderer writes the same from network_data.json as from our network-config.

    But for what the drive cannot say: with a static IPv6 address router
    advertisements are refused, and a VLAN has its card's MAC address by name.
    """
    cluster = make_cluster(NETWORKS[network])
    credentials = issue_pki(cluster, stored=None, now=NOW).pki
    for member in cluster.members:
        documents = render_node(cluster, member, credentials, Templates())
        drive = network_data(cluster.spec.network, member.plan)
        pair = [drive, yaml.safe_load(documents.network_config)]
        theirs, ours = run_in(version, RENDER_NETWORKS, json.dumps(pair).encode())
        assert theirs.keys() == ours.keys()
        said = yaml.safe_load(theirs.pop("netplan"))["network"]
        meant = yaml.safe_load(ours.pop("netplan"))["network"]
        for card in said["ethernets"].values():
            v6 = any(":" in address for address in card.get("addresses", ()))
            assert card.pop("accept-ra", None) == (False if v6 else None)
        for vlan in said.get("vlans", {}).values():
            assert vlan.pop("macaddress", None) == member.plan.mac
        assert said == meant
        for name, text in theirs.items():
            assert common_lines(text) == common_lines(ours[name])


def common_lines(text: str) -> list[str]:
    """A network file's lines, without those in which the two may differ."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if re.search(r"vlan_id|Name=\w+\.\d+", text):
        lines = [line for line in lines if not line.lower().startswith(("hwaddress", "macaddress"))]
    return [line for line in lines if line not in ("accept_ra 0", "IPv6AcceptRA=False")]


# --- OpenStack -----------------------------------------------------------------------


def written(documents: NodeDocuments, target: str, folder: Path) -> Path:
    """The target's folder, and the member's other files around it, on a disk."""
    files = plain_files(documents) | package(target, documents).files
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder / documents.folder / target


def run_script(
    path: Path, environment: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run a script with nothing else in its environment."""
    command = ["bash", str(path), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


# Stands for the client where there is no cloud; its arguments are judged by the client's parser.
CLIENT = r"""#!/bin/sh
for argument in "$@"; do printf '%s\037' "$argument"; done >>"$CALLS"
echo >>"$CALLS"
case "$1 $2" in
  "server list") echo "${EXISTING:-}" ;;
  "port list" | "image list") ;;
  *) echo "id-$1-$2" ;;
esac
"""


def create_server(
    documents: NodeDocuments, folder: Path, **environment: str
) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    """Run the script; what came of it, and each call of the client."""
    script = written(documents, "openstack", folder) / "create-server"
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    (tools / "openstack").write_text(CLIENT)
    (tools / "openstack").chmod(0o755)
    calls = folder / "calls"
    calls.write_text("")
    given = {"PATH": f"{tools}:{os.environ['PATH']}", "CALLS": str(calls)} | environment
    run = run_script(script, given, "--key-name", "ops")
    return run, [line.split("\037")[:-1] for line in calls.read_text().splitlines()]


PLACE = {"IMAGE": "debian 12", "FLAVOR": "m1", "NETWORK": "lan", "NETWORK_1": "peers"}


def parsed_by_the_client(call: list[str]) -> Any:
    """A call's arguments as python-openstackclient understands them."""
    pytest.importorskip("openstackclient")
    from openstackclient.compute.v2 import server
    from openstackclient.image.v2 import image
    from openstackclient.network.v2 import port

    kind = {
        ("server", "list"): server.ListServer,
        ("server", "create"): server.CreateServer,
        ("port", "list"): port.ListPort,
        ("port", "create"): port.CreatePort,
        ("image", "list"): image.ListImage,
        ("image", "create"): image.CreateImage,
    }[call[0], call[1]]
    manager = SimpleNamespace(is_network_endpoint_enabled=lambda: True)
    command = kind(SimpleNamespace(client_manager=manager, options=SimpleNamespace()), None)
    return command.get_parser(" ".join(call[:2])).parse_args(call[2:])


@pytest.mark.parametrize("secrets", SECRETS)
@pytest.mark.parametrize("example", RENDERED)
def test_openstacks_client_takes_what_the_script_asks(example, secrets, tmp_path):
    """Ports with the spec's addresses, a server with them, and the keys' volume if there is one."""
    documents = node(example, secrets)
    run, calls = create_server(documents, tmp_path, **PLACE, SECURITY_GROUP="etcd")
    assert run.returncode == 0, run.stderr
    asked: dict[str, list[Any]] = {}
    for call in calls:
        asked.setdefault(" ".join(call[:2]), []).append(parsed_by_the_client(call))
    plan = documents.member.plan
    assert [port.fixed_ip for port in asked["port create"]] == [
        [{"ip-address": str(address)}]
        for address in (plan.address, *(nic.addresses[0].ip for nic in plan.nics))
    ]
    assert [port.network for port in asked["port create"]] == ["lan", "peers"][: 1 + len(plan.nics)]
    assert {tuple(port.security_groups) for port in asked["port create"]} == {("etcd",)}
    [server] = asked["server create"]
    assert (server.server_name, server.image, server.flavor) == (plan.name, "debian 12", "m1")
    assert [nic["port-id"] for nic in server.nics] == ["id-port-create"] * (1 + len(plan.nics))
    assert server.key_name == "ops"
    images = asked.get("image create", [])
    assert len(server.block_devices) == len(images) == (secrets == "split")
    for image in images:
        keys = read_seed(Path(image.filename).read_bytes())
        assert keys.label == guest.keys_label(documents.member.instance_id) == image.name
        assert {file.name for file in keys.files} == set(documents.keys)
    for disk in server.block_devices:
        assert (disk["uuid"], disk["boot_index"]) == ("id-image-create", "-1")
    data = Path(server.user_data).read_bytes()
    for version in VERSIONS:
        assert_is_our_config(run_in(version, READ_NOVA, data), documents)


READ_NOVA = f"""{SERVER}
from cloudinit.sources.helpers.openstack import MetadataReader
url = serve({{
    "/openstack": b"latest",
    "/openstack/latest/meta_data.json": b'{{"uuid": "u", "hostname": "h"}}',
    "/openstack/latest/user_data": raw,
}})
reader = MetadataReader(url, retries=0)
reader._read_ec2_metadata = dict
result = merged(reader.read_v2()["userdata"])
"""


def test_an_openstack_server_is_not_made_twice(tmp_path):
    """With one of that name the script says so and makes nothing."""
    run, calls = create_server(node("icc-etcd", "split"), tmp_path, **PLACE, EXISTING="abc")
    assert run.returncode == 1
    assert "icc-etcd-1 exists already: abc" in run.stderr
    assert [call[:2] for call in calls] == [["server", "list"]]


@pytest.mark.parametrize("missing", PLACE)
def test_openstacks_script_asks_for_what_it_cannot_know(missing, tmp_path):
    """Before it makes anything."""
    place = {key: value for key, value in PLACE.items() if key != missing}
    run, calls = create_server(node("hardened", "split"), tmp_path, **place)
    assert run.returncode != 0
    assert f"{missing}: set it to" in run.stderr
    assert calls == []


def test_openstack_counts_base64():
    """As Nova does: four characters for three bytes, the last ones filled up."""
    payload = package("openstack", node("icc-etcd"))
    [data] = [data for name, data in payload.files.items() if name.endswith(".gz")]
    assert payload.counted == len(base64.b64encode(data))


@pytest.mark.parametrize("script", ["openstack/create-server", "ec2/run-instance"])
@pytest.mark.parametrize("secrets", ["embed", "split"])
@pytest.mark.parametrize("example", RENDERED)
def test_scripts_pass_shellcheck(script, secrets, example, tmp_path):
    """With one NIC and with two, with and without a disk for the keys."""
    program = require_program("shellcheck")
    target, _, name = script.partition("/")
    path = written(node(example, secrets), target, tmp_path) / name
    run = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


# --- EC2 -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def aws() -> Iterator[dict[str, str]]:
    """The environment of an AWS CLI whose cloud is a simulation of EC2 on this machine."""
    pytest.importorskip("awscli")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "*",
    }
    server.stop()


def aws_client(environment: dict[str, str], service: str) -> Any:
    """botocore's client of that cloud."""
    from botocore.config import Config
    from botocore.session import Session

    session = Session()
    session.set_credentials("testing", "testing")
    return session.create_client(
        service,
        region_name="eu-central-1",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        config=Config(proxies={}),
    )


def subnets(ec2: Any, documents: NodeDocuments) -> dict[str, str]:
    """A subnet for each of the member's NICs, and the rest that the script wants to know."""
    plan = documents.member.plan
    addresses = (plan.address, *(nic.addresses[0].ip for nic in plan.nics))
    ranges = [".".join(str(address).split(".")[:2]) + ".0.0/16" for address in addresses]
    vpc = ec2.create_vpc(CidrBlock=ranges[0])["Vpc"]["VpcId"]
    for further in ranges[1:]:
        ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock=further)
    group = ec2.create_security_group(GroupName="etcd", Description="etcd", VpcId=vpc)
    place = {"IMAGE_ID": "ami-12c6146b", "INSTANCE_TYPE": "t3.small"}
    place["SECURITY_GROUP_ID"] = group["GroupId"]
    for index, address in enumerate(addresses):
        block = f"{str(address).rpartition('.')[0]}.0/24"
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=block)["Subnet"]["SubnetId"]
        place[f"SUBNET_ID_{index}" if index else "SUBNET_ID"] = subnet
    return place


READ_EC2 = f"""{SERVER}
from cloudinit import util
from cloudinit.sources.helpers import ec2
found = ec2.get_instance_userdata("latest", serve({{"/latest/user-data": raw}}), retries=0)
# 25.1's DataSourceEc2 does so, 22.4's does not.
found = util.maybe_b64decode(found) if hasattr(util, "maybe_b64decode") else found
result = merged(found)
"""


@pytest.mark.parametrize(
    ("example", "secrets"), [("icc-etcd", "embed"), ("icc-etcd", "split"), ("hardened", "split")]
)
def test_ec2_starts_what_the_spec_says(example, secrets, aws, tmp_path, request):
    """By the real CLI: addresses, metadata options, and user-data as the guest will read it."""
    require_program("openssl")
    ec2 = aws_client(aws, "ec2")
    documents = node(example, secrets)
    plan = documents.member.plan
    place = subnets(ec2, documents)
    script = written(documents, "ec2", tmp_path) / "run-instance"
    run = run_script(script, aws | place, "--ebs-optimized")
    assert run.returncode == 0, run.stderr
    name = run.stdout.strip()
    # However this ends: the cloud is the next test's as well.
    request.addfinalizer(lambda: ec2.terminate_instances(InstanceIds=[name]))
    [reservation] = ec2.describe_instances(InstanceIds=[name])["Reservations"]
    [instance] = reservation["Instances"]
    assert instance["PrivateIpAddress"] == str(plan.address)
    assert [nic["PrivateIpAddress"] for nic in instance["NetworkInterfaces"]] == [
        str(address) for address in (plan.address, *(nic.addresses[0].ip for nic in plan.nics))
    ]
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert instance["EbsOptimized"] is True
    assert {"Key": "Name", "Value": plan.name} in instance["Tags"]

    attribute = ec2.describe_instance_attribute(InstanceId=name, Attribute="userData")
    data = base64.b64decode(attribute["UserData"]["Value"])
    assert len(data) == package("ec2", documents).counted <= 16 * 1024
    for version in VERSIONS:
        assert_is_our_config(run_in(version, READ_EC2, data), documents)

    volumes = [
        disk["Ebs"]["VolumeId"]
        for disk in instance["BlockDeviceMappings"]
        if disk["DeviceName"] == "/dev/sdf"
    ]
    assert len(volumes) == (secrets == "split")
    for volume in volumes:
        [disk] = ec2.describe_volumes(VolumeIds=[volume])["Volumes"]
        assert_holds_keys(aws_client(aws, "ebs"), disk["SnapshotId"], documents)

    again = run_script(script, aws | place)
    assert again.returncode == 1
    assert f"{plan.name} exists already: {name}" in again.stderr


def assert_holds_keys(ebs: Any, snapshot: str, documents: NodeDocuments) -> None:
    """The snapshot begins with the member's keys.iso."""
    [block] = ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"]
    data = ebs.get_snapshot_block(
        SnapshotId=snapshot, BlockIndex=block["BlockIndex"], BlockToken=block["BlockToken"]
    )["BlockData"].read()
    assert block["BlockIndex"] == 0
    assert len(data) == 512 * 1024
    keys = read_seed(data)
    assert keys.label == guest.keys_label(documents.member.instance_id)
    assert {file.name: file.content.decode() for file in keys.files} == documents.keys


@pytest.mark.parametrize("example", RENDERED)
def test_ec2s_request_is_one(example):
    """The AWS model of RunInstances has every parameter of the request, of these types."""
    pytest.importorskip("botocore")
    from botocore.session import Session
    from botocore.validate import ParamValidator

    request = json.loads(files_of("ec2", node(example))["request.json"])
    model = Session().get_service_model("ec2").operation_model("RunInstances").input_shape
    report = ParamValidator().validate(request, model)
    assert not report.has_errors(), report.generate_report()
    assert "UserData" not in request  # the CLI would encode it once more
    if example == "three-members-ipv6":
        assert request["Ipv6Addresses"] == [{"Ipv6Address": "2001:db8:0:f0::11"}]


def test_ec2s_script_asks_for_what_it_cannot_know(tmp_path):
    """Before it does anything; a second NIC needs a second subnet."""
    script = written(node("hardened"), "ec2", tmp_path) / "run-instance"
    place = dict.fromkeys(
        ("IMAGE_ID", "INSTANCE_TYPE", "SECURITY_GROUP_ID", "SUBNET_ID", "SUBNET_ID_1"), "x"
    )
    for missing in place:
        known = {key: value for key, value in place.items() if key != missing}
        run = run_script(script, {"PATH": os.environ["PATH"]} | known)
        assert run.returncode != 0
        assert f"{missing}: set it to" in run.stderr


# --- the presets ---------------------------------------------------------------------

AZURE = """
from cloudinit.sources import DataSourceAzure  # 25.1 has a loop of imports that starts well here
from cloudinit.sources.helpers.azure import OvfEnvXml
import base64
text = '''<?xml version="1.0"?>
<ns0:Environment xmlns:ns0="http://schemas.dmtf.org/ovf/environment/1"
 xmlns:ns1="http://schemas.microsoft.com/windowsazure">
 <ns1:ProvisioningSection><ns1:Version>1.0</ns1:Version>
  <ns1:LinuxProvisioningConfigurationSet>
   <ns1:HostName>h</ns1:HostName><ns1:UserName>u</ns1:UserName>
   <ns1:CustomData>%s</ns1:CustomData>
  </ns1:LinuxProvisioningConfigurationSet></ns1:ProvisioningSection>
 <ns1:PlatformSettingsSection><ns1:Version>1.0</ns1:Version>
  <ns1:PlatformSettings><ns1:PreprovisionedVm>false</ns1:PreprovisionedVm></ns1:PlatformSettings>
 </ns1:PlatformSettingsSection>
</ns0:Environment>''' % base64.b64encode(sys.stdin.buffer.read()).decode()
result = merged(OvfEnvXml.parse_text(text).custom_data)
"""

GCE = f"""{SERVER}
from types import SimpleNamespace
from cloudinit.sources import DataSourceGCE as gce
attributes = {{"user-data": raw.decode()}} | OTHERS
url = serve({{
    "/instance/id": b"1", "/instance/zone": b"z", "/instance/hostname": b"h",
    "/instance/attributes": json.dumps(attributes).encode(), "/project/attributes": b"{{}}",
}})
times = SimpleNamespace(num_retries=0, sec_between_retries=0, timeout_seconds=5, max_wait_seconds=5)
found = gce.read_md(address=url + "/", url_params=times, platform_check=False)
assert found["success"], found["reason"]
result = merged(found["user-data"])
"""

HETZNER = f"""{SERVER}
from cloudinit import util
from cloudinit.sources.helpers import hetzner
found = hetzner.read_userdata(serve({{"/userdata": raw}}) + "/userdata", retries=0)
decode = getattr(util, "maybe_b64decode", None) or hetzner.maybe_b64decode
result = merged(decode(found))
"""

DIGITALOCEAN = f"""{SERVER}
from cloudinit.sources.helpers import digitalocean
page = json.dumps({{"droplet_id": 1, "user_data": raw.decode()}}).encode()
found = digitalocean.read_metadata(serve({{"/v1.json": page}}) + "/v1.json", retries=0)
result = merged(found["user_data"])
"""

# All but the network: the crawl is given its result, the decoding is the datasource's own.
ORACLE = """
import contextlib, json
from unittest import mock
from cloudinit import helpers
from cloudinit.sources import DataSourceOracle as oracle
instance = {
    "id": "ocid1", "hostname": "h", "displayName": "h", "ociAdName": "a",
    "metadata": json.load(sys.stdin),
}
paths = helpers.Paths({"cloud_dir": "/nonexistent", "run_dir": "/nonexistent"})
source = oracle.DataSourceOracle({}, mock.Mock(), paths)
crawled = mock.Mock(version=2, instance_data=instance, vnics_data=None)
crawled.imds_url_used = "http://169.254.169.254/opc/v2/instance/"
with contextlib.ExitStack() as stack:
    for where, name, value in [
        (oracle, "read_opc_metadata", crawled), (oracle, "_is_iscsi_root", True),
        (oracle, "_is_platform_viable", True), (oracle, "_read_system_uuid", "u"),
        (source, "_is_platform_viable", True), (source, "ds_detect", True),
        (source, "_is_iscsi_root", True), (oracle.net, "find_fallback_nic", "eth0"),
    ]:
        if hasattr(where, name):
            stack.enter_context(mock.patch.object(where, name, return_value=value))
    for module in ("dhcp", "ephemeral"):
        for name in ("EphemeralDHCPv4", "EphemeralIPNetwork"):
            if hasattr(getattr(oracle, module, None), name):
                stack.enter_context(mock.patch.object(getattr(oracle, module), name))
    assert source._get_data()
result = merged(source.userdata_raw)
"""

CLOUDSTACK = f"""{SERVER}
import base64
from cloudinit.sources.helpers import ec2
# The virtual router serves what the API was given, decoded.
url = serve({{"/latest/user-data": base64.b64decode(raw, validate=True)}})
result = merged(ec2.get_instance_userdata("latest", url, retries=0))
"""

NUTANIX = """
import base64, json, pathlib, tempfile
from cloudinit.sources import DataSourceConfigDrive as drive
given = json.load(sys.stdin)
with tempfile.TemporaryDirectory() as folder:
    latest = pathlib.Path(folder) / "openstack" / "latest"
    latest.mkdir(parents=True)
    (latest / "user_data").write_bytes(base64.b64decode(given["user_data"], validate=True))
    (latest / "meta_data.json").write_bytes(base64.b64decode(given["meta_data"], validate=True))
    found = drive.read_config_drive(folder)
result = merged(found["userdata"])
"""

#: How each platform's datasource comes to user-data, from what the operator hands in.
READERS = {
    "gce": GCE.replace("OTHERS", "{}"),
    "azure": AZURE,
    "hetzner": HETZNER,
    "digitalocean": DIGITALOCEAN,
    "oci": ORACLE,
    "cloudstack": CLOUDSTACK,
    "nutanix": NUTANIX,
    "multipass": "result = merged(sys.stdin.buffer.read())",
}


def test_every_preset_is_read_by_its_datasource():
    """None is left out below."""
    assert set(READERS) == {preset.name for preset in PRESETS}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(("example", "secrets"), [("icc-etcd", "split"), ("hardened", "embed")])
def test_presets_are_read_by_their_datasources(name, version, example, secrets):
    """Through each datasource's own code, the one file of a preset becomes our cloud-config."""
    documents = node(example, secrets)
    [data] = files_of(name, documents).values()
    assert_is_our_config(run_in(version, READERS[name], data), documents)


@pytest.mark.parametrize("version", VERSIONS)
def test_nutanix_takes_our_meta_data(version):
    """The instance-id and host name there are ours."""
    documents = node("hardened", index=1)
    [data] = files_of("nutanix", documents).values()
    code = NUTANIX.replace("merged(found['userdata'])", "None") + (
        'result = [found["metadata"]["instance-id"], found["metadata"]["local-hostname"]]'
    )
    member = documents.member
    assert run_in(version, code, data) == [member.instance_id, member.name]


@pytest.mark.parametrize("name", ["hyper-v", "xcp-ng"])
def test_cd_drives_get_the_seed(name):
    """The same image as nocloud-iso, with meta-data and network-config."""
    documents = node("hardened", "split")
    [image] = package(name, documents).files.values()
    [seed] = package("nocloud-iso", documents).files.values()
    assert image == seed


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("encoding", Encoding)
def test_generic_encodings_are_undone(version, encoding):
    """After the base64 that a platform undoes, cloud-init reads each of them."""
    documents = node("icc-etcd", "split")
    [data] = files_of("generic", documents, encoding=encoding).values()
    if "base64" in encoding:
        code = GCE.replace("OTHERS", '{"user-data-encoding": "base64"}')
        config = run_in(version, code, data)
    else:
        config = merged(version, data)
    assert_is_our_config(config, documents)


def test_generics_limit_is_the_callers():
    """An error above it, a warning near it, nothing below; counted as encoded."""
    documents = node("icc-etcd", "split")
    target = load_target("generic")
    [data] = files_of("generic", documents, encoding=Encoding.GZIP, limit=1).values()
    size = len(data)
    expected = {size - 1: [Severity.ERROR], size: [Severity.WARNING], 2 * size: []}
    for limit, severities in expected.items():
        payload = package("generic", documents, encoding=Encoding.GZIP, limit=limit)
        found = [problem.severity for problem in size_problems(target, documents, payload)]
        assert found == severities
    assert not list(size_problems(target, documents, package("generic", documents)))


# --- what does not fit ---------------------------------------------------------------


def fits(target: str, documents: NodeDocuments) -> bool:
    """Whether the place takes it at all."""
    problems = size_problems(load_target(target), documents, package(target, documents))
    return not any(problem.severity is Severity.ERROR for problem in problems)


def test_rsa_4096_on_ec2():
    """With its keys inside it does not fit, without them it does; with two CAs neither."""
    assert not fits("ec2", rsa_node("embed"))
    assert fits("ec2", rsa_node("split"))
    assert not fits("ec2", rsa_node("embed", "separate"))
    assert not fits("ec2", rsa_node("split", "separate"))


@pytest.mark.parametrize("target", [name for name in CLOUDS if name != "ec2"])
def test_rsa_4096_elsewhere(target):
    """Every other place takes the largest documents there are."""
    assert fits(target, rsa_node("embed", "separate"))


def build_rsa(tmp_path: Path, text: str, **options: Any) -> None:
    """Build a spec for EC2."""
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    given = BuildOptions(
        now=NOW, output=tmp_path / "out", pki=tmp_path / "pki", targets=("ec2",), **options
    )
    build_cluster(load_spec(path, now=NOW), given)


RSA = """\
cluster: large
members:
  - {name: large-1, address: 10.0.0.11}
  - {name: large-2, address: 10.0.0.12}
pki: {layout: lab, algorithm: rsa-4096}
data_disk: {device: /dev/disk/by-id/virtio-data}
after_boot: scrub
"""


def measured(tmp_path: Path, cluster: str) -> int:
    """What was written for EC2."""
    return (tmp_path / f"out/{cluster}/members/large-1/ec2/user-data.gz").stat().st_size


def test_an_error_of_size_says_what_would_fit(tmp_path):
    """Each file and what it adds, and measured ways out; doing as it says makes it fit."""
    with pytest.raises(ImagegenError) as caught:
        build_rsa(tmp_path, RSA, secrets="embed", allow_secrets_over_network=True)
    first, second = caught.value.problems
    assert first.where == "large-1: target ec2"
    assert "16,384 bytes of user-data before base64" in first.what
    for path in (guest.PROGRAM, "/etc/etcd/ca.pem", "/etc/etcd/kubernetes.pem"):
        assert re.search(rf"{path} [\d,]+", first.what)
    assert "nocloud-iso" in first.hint
    assert second.where == "large-2: target ec2"
    ways = {
        way.strip(): int(size.replace(",", ""))
        for way, size in re.findall(r"([^;]+): ([\d,]+) bytes", first.hint)
    }
    split, small = ways["--secrets split"], ways["pki.algorithm ecdsa-p256 in a new cluster"]
    assert small < split < 16 * 1024
    assert not (tmp_path / "out").exists()

    build_rsa(tmp_path, RSA, secrets="split")
    assert measured(tmp_path, "large") == split
    other = RSA.replace("rsa-4096", "ecdsa-p256").replace("cluster: large", "cluster: other")
    build_rsa(tmp_path, other, secrets="embed", allow_secrets_over_network=True)
    assert abs(measured(tmp_path, "other") - small) < 100  # other keys, other bytes


def test_an_error_of_size_counts_what_the_operator_adds(tmp_path):
    """Where extra_user_data is too much, that is said, with what remains without it."""
    noise = base64.b64encode(random.Random(1).randbytes(12_000)).decode()
    text = RSA.replace("rsa-4096", "ecdsa-p256") + (
        f"extra_user_data:\n  write_files: [{{path: /etc/mine, content: {noise}}}]\n"
    )
    with pytest.raises(ImagegenError) as caught:
        build_rsa(tmp_path, text, secrets="split")
    first = caught.value.problems[0]
    [size] = re.findall(r"no extra_user_data: ([\d,]+) bytes", first.hint)
    noisy = int(re.findall(r"([\d,]+) bytes, and it takes", first.what)[0].replace(",", ""))
    # Chance does not compress: what it takes less is what it was, at least.
    assert noisy - int(size.replace(",", "")) >= 12_000
    assert re.search(r"adds: /etc/mine [\d,]+, ", first.what)
    assert "pki.algorithm" not in first.hint


def test_a_nic_with_several_addresses(tmp_path):
    """Each is asked for, by the CLI's own reading of the script's shorthand."""
    pytest.importorskip("awscli")
    cluster = make_cluster(BOTH.replace('"2001:db8:1::11/64"', '10.1.0.12/24, "2001:db8:1::11/64"'))
    credentials = issue_pki(cluster, stored=None, now=NOW).pki
    documents = render_node(cluster, cluster.members[0], credentials, Templates())
    script = written(documents, "ec2", tmp_path) / "run-instance"
    calls = tmp_path / "calls"
    (tmp_path / "aws").write_text('#!/bin/sh\nprintf "%s\\n" "$@" >>' + f'"{calls}"\n')
    (tmp_path / "aws").chmod(0o755)
    names = ("IMAGE_ID", "INSTANCE_TYPE", "SECURITY_GROUP_ID", "SUBNET_ID", "SUBNET_ID_1")
    place = dict(zip(names, ("ami-1", "t3.small", "sg-1", "subnet-1", "subnet-2"), strict=True))
    run = run_script(script, place | {"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert run.returncode == 0, run.stderr
    from awscli.shorthand import ShorthandParser

    given = [line for line in calls.read_text().splitlines() if line.startswith("DeviceIndex=")]
    first, second = (ShorthandParser().parse(text) for text in given)
    assert (first["DeviceIndex"], first["SubnetId"]) == ("0", "subnet-1")
    assert (first["Groups"], first["PrivateIpAddress"]) == ("sg-1", "10.0.0.11")
    assert second["SubnetId"] == "subnet-2"
    assert second["PrivateIpAddress"] == "10.1.0.11"
    assert second["PrivateIpAddresses"] == [{"Primary": "false", "PrivateIpAddress": "10.1.0.12"}]
    assert second["Ipv6Addresses"] == [{"Ipv6Address": "2001:db8:1::11"}]
