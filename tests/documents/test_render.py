"""imagegen.documents.render: documents that say what was meant, to every parser that reads them."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from dataclasses import replace
from functools import cache

import pytest
import yaml

from imagegen.base.problems import ImagegenError
from imagegen.cluster.cluster import Cluster, hex_id
from imagegen.documents import guest
from imagegen.documents.env_file import parse_env
from imagegen.documents.firstboot_config import parts_for
from imagegen.documents.guest_files import own_paths
from imagegen.documents.program import without_comments
from imagegen.documents.render import NodeDocuments, render_node
from imagegen.documents.templates import Templates
from imagegen.pki.issue import issue_pki
from imagegen.pki.model import Credential, MemberCredentials, Pki
from imagegen.pki.pem import certificates_in
from tests.cloud_init import VERSIONS, merged
from tests.conftest import EXAMPLES, NOW, TEMPLATES, make_cluster, require_program

# Those that need no certificates brought along.
RENDERED = ["icc-etcd", "smallest", "three-members-ipv6", "hardened", "release"]


@cache
def built(example: str) -> tuple[Cluster, Pki]:
    cluster = make_cluster((EXAMPLES / f"{example}.yaml").read_text())
    return cluster, issue_pki(cluster, stored=None, now=NOW).pki


def documents(
    example: str, index: int = 0, templates: Templates | None = None, *, secrets: str = "embed"
) -> NodeDocuments:
    cluster, pki = built(example)
    member = cluster.members[index]
    return render_node(cluster, member, pki, templates or Templates(), secrets=secrets)


def files_of(node: NodeDocuments) -> dict[str, dict]:
    return {file["path"]: file for file in yaml.safe_load(node.user_data)["write_files"]}


@pytest.mark.parametrize("example", RENDERED)
@pytest.mark.parametrize("version", ["22.4", "25.1"])
def test_cloud_inits_own_schema(example, version, tmp_path):
    """User-data is valid to both ends of the range we support, and nothing in it deprecated."""
    program = require_program(f"cloud-init-{version}")
    cluster, _ = built(example)
    for index in range(len(cluster.members)):
        path = tmp_path / "user-data"
        path.write_text(documents(example, index).user_data)
        run = subprocess.run(
            [program, "schema", "--config-file", str(path), "--annotate"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        said = run.stdout + run.stderr
        assert run.returncode == 0, said[-2000:]
        assert "Valid" in said
        assert "eprecat" not in said


@pytest.mark.parametrize("example", [n for n in RENDERED if n not in ("smallest", "release")])
def test_cloud_inits_network_schema(example, tmp_path):
    """network-config is valid to the cloud-init that can judge it."""
    program = require_program("cloud-init-25.1")
    path = tmp_path / "network-config"
    path.write_text(documents(example).network_config)
    run = subprocess.run(
        [program, "schema", "--schema-type", "network-config", "--config-file", str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Valid" in run.stdout
    assert "eprecat" not in run.stdout + run.stderr


@pytest.mark.parametrize("version", ["22.4", "25.1"])
@pytest.mark.parametrize("renderer", ["netplan", "eni", "networkd"])
@pytest.mark.parametrize("example", ["icc-etcd", "three-members-ipv6", "hardened"])
def test_every_renderer_makes_the_address_of_it(example, renderer, version, tmp_path):
    """Whatever the image configures its network with, the address and gateway arrive."""
    program = require_program(f"cloud-init-{version}")
    cluster, _ = built(example)
    path = tmp_path / "network-config"
    path.write_text(documents(example).network_config)
    run = subprocess.run(
        [program, "devel", "net-convert", "--network-data", str(path), "--kind", "yaml",
         "--directory", str(tmp_path / "out"), "--distro", "debian",
         "--output-kind", renderer, "--mac", "eth0,52:54:00:f0:00:0b"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    written = "\n".join(
        path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file()
    )
    assert str(cluster.members[0].plan.address) in written
    assert str(cluster.spec.network.gateway) in written


def test_no_network_in_the_spec_is_cloud_inits_fallback():
    """The document says nothing at all, which is what asks for DHCP."""
    assert yaml.safe_load(documents("smallest").network_config) is None


@pytest.mark.parametrize("example", RENDERED)
def test_credentials_are_the_members_own(example):
    """What etcd's settings point at is there, is this member's, and only its keys are private."""
    cluster, pki = built(example)
    for index, member in enumerate(cluster.members):
        node = documents(example, index)
        files = files_of(node)
        settings = parse_env(files[guest.ETCD_DEFAULTS]["content"])
        own = pki.members[member.name]
        assert files[settings["ETCD_CERT_FILE"]]["content"] == own.server.certificate_pem
        assert files[settings["ETCD_KEY_FILE"]]["content"] == own.server.key_pem
        assert files[settings["ETCD_TRUSTED_CA_FILE"]]["content"] == pki.ca.certificate_pem
        assert files[settings["ETCD_PEER_CERT_FILE"]]["content"] == own.peer.certificate_pem
        assert files[settings["ETCD_PEER_KEY_FILE"]]["content"] == own.peer.key_pem
        assert (
            files[settings["ETCD_PEER_TRUSTED_CA_FILE"]]["content"] == pki.peer_ca.certificate_pem
        )
        holding = {path for path, file in files.items() if "PRIVATE KEY-----" in file["content"]}
        assert holding == {settings["ETCD_KEY_FILE"], settings["ETCD_PEER_KEY_FILE"]}
        assert {files[path]["permissions"] for path in holding} == {"0600"}
        assert "PRIVATE KEY" not in node.meta_data + node.network_config


@pytest.mark.parametrize("secrets", ["split", "external"])
@pytest.mark.parametrize("example", RENDERED)
def test_keys_that_travel_apart(example, secrets):
    """No document has a key; they are beside it, and the certificates they belong to are in it."""
    node = documents(example, secrets=secrets)
    embedded = files_of(documents(example))
    assert "PRIVATE KEY-----" not in node.user_data + node.meta_data + node.network_config
    files = files_of(node)
    folder = node.cluster.spec.pki.directory
    assert embedded.keys() - files.keys() == {f"{folder}/{name}" for name in node.keys}
    assert files.keys() - embedded.keys() == {guest.KEYS_UNIT}
    for name, text in node.keys.items():
        assert text == embedded[f"{folder}/{name}"]["content"]
    config = json.loads(files[guest.CONFIG]["content"])
    assert config["keys"]["secrets"] == secrets
    assert "PRIVATE" not in repr(node)


def test_the_label_of_the_keys_names_the_member():
    """Each member and each generation has a label of its own, which fits into Joliet's 16."""
    cluster, _ = built("icc-etcd")
    labels = {guest.keys_label(member.instance_id) for member in cluster.members}
    assert len(labels) == 5
    assert {len(label) for label in labels} == {16}
    config = json.loads(files_of(documents("icc-etcd", secrets="split"))[guest.CONFIG]["content"])
    assert config["keys"]["disk"] in labels


def test_what_waits_for_the_keys_passes_systemd(tmp_path):
    """The path unit is one, and starts first boot."""
    program = require_program("systemd-analyze")
    for secrets in ("split", "external"):
        unit = files_of(documents("smallest", secrets=secrets))[guest.KEYS_UNIT]["content"]
        (tmp_path / "imagegen-keys.path").write_text(unit)
        service = "[Service]\nExecStart=/bin/true\n"
        (tmp_path / "imagegen-firstboot.service").write_text(service)
        run = subprocess.run(
            [program, "verify", "--man=no", "imagegen-keys.path"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
            env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        assert not [line for line in run.stderr.splitlines() if "imagegen-keys" in line]
        waited = re.findall("^PathExists=(.*)$", unit, flags=re.M)
        assert waited
        assert all(path.startswith(("/dev/disk/by-label/keys-", "/etc/etcd/")) for path in waited)


EXTRA = """
users: [{name: us, groups: [adm]}]
extra_user_data:
  packages: [htop, [libc6, "2.36"]]
  timezone: Europe/Berlin
  write_files:
    - {path: /etc/motd, content: "hello: {{ world }}\\n", append: true}
    - path: /opt/run.sh
      permissions: "0755"
      content: |
        #!/bin/sh
        echo "ä"
  runcmd: [touch /one, [touch, /two]]
  users: [default, {name: them, sudo: null}]
  ssh_authorized_keys: [ssh-ed25519 AAAA them]
  power_state: {mode: poweroff, timeout: 30, condition: false}
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_extra_user_data_is_appended(version):
    """cloud-init sees the operator's settings as they were written, behind ours."""
    text = (EXAMPLES / "smallest.yaml").read_text() + EXTRA
    cluster = make_cluster(text)
    pki = issue_pki(cluster, stored=None, now=NOW).pki
    node = render_node(cluster, cluster.members[0], pki, Templates())
    config = merged(version, node.user_data.encode())
    extra = yaml.safe_load(text)["extra_user_data"]
    for key in ("packages", "timezone", "power_state"):
        assert config[key] == extra[key]
    for key in ("write_files", "runcmd"):
        own = len(config[key]) - len(extra[key])
        assert own > 0
        assert config[key][own:] == extra[key]
    assert [user if isinstance(user, str) else user["name"] for user in config["users"]] == [
        "default", "us", "default", "them",
    ]  # fmt: skip
    assert config["ssh_authorized_keys"] == extra["ssh_authorized_keys"]


def test_every_path_of_ours_is_known():
    """What own_paths lists is what is written: extra_user_data must not overwrite any of it."""
    for example in RENDERED:
        cluster, _ = built(example)
        written = set(files_of(documents(example, secrets="split")))
        written |= set(files_of(documents(example)))
        written.add(cluster.crl_path)  # once a client is revoked
        written -= {f["path"] for f in cluster.spec.extra_user_data.get("write_files", ())}
        assert own_paths(cluster) == written


def test_every_file_belongs_to_root_and_has_a_quoted_mode():
    """The user etcd does not exist yet; a bare number would be another mode."""
    for file in yaml.safe_load(documents("hardened").user_data)["write_files"]:
        assert file["owner"] == "root:root"
        assert re.fullmatch("0[0-7]{3}", file["permissions"])
        assert file["path"].startswith("/")


@pytest.mark.parametrize("example", RENDERED)
def test_settings_arrive_whole(example):
    """/etc/default/etcd reads back, by systemd's rules, as the cluster's settings."""
    cluster, pki = built(example)
    for index, member in enumerate(cluster.members):
        text = files_of(documents(example, index))[guest.ETCD_DEFAULTS]["content"]
        assert parse_env(text) == cluster.settings(member, pki.peer_common_name)


def test_the_first_boot_program_knows_what_it_must():
    """member.json has the IDs etcd will compute, and no secret."""
    cluster, _ = built("hardened")
    text = files_of(documents("hardened", 1))[guest.CONFIG]["content"]
    config = json.loads(text)
    assert "PRIVATE" not in text
    assert config["member"] == "vault-etcd-2"
    assert config["member_id"] == hex_id(cluster.members[1].member_id)
    assert config["cluster_id"] == hex_id(cluster.cluster_id)
    assert [other["name"] for other in config["others"]] == ["vault-etcd-1", "vault-etcd-3"]
    assert config["peer_listen"] == ["10.30.0.12", 2380]
    assert config["addresses"] == ["10.30.0.12", "10.20.0.12"]
    assert config["data_disk"]["unit"] == "var-lib-etcd.mount"
    assert config["after_boot"] == "scrub"
    assert config["bootstrap_until"] == "2027-06-30T00:00:00Z"
    assert config["not_before"] < "2026-12-01T12:00:00Z"


def test_the_first_boot_program_is_the_one_that_is_tested():
    """Executable, and the same to Python as the commented source, docstrings apart."""
    file = files_of(documents("icc-etcd"))[guest.PROGRAM]
    source = (TEMPLATES / "firstboot.py").read_text()
    parts = frozenset(re.findall(r"^# part (\w+)", source, re.MULTILINE))
    whole = without_comments(source, name="firstboot.py", parts=parts)
    assert file["permissions"] == "0755"
    assert file["content"].startswith("#!/usr/bin/python3\n# ")
    assert len(file["content"]) < 0.8 * len(source)
    assert statements(whole) == statements(source)
    assert set(file["content"].splitlines()) <= set(whole.splitlines())
    assert set(file["content"].splitlines()) - {"    pass"} <= {
        line.partition("  #")[0] for line in source.splitlines()
    } | {file["content"].splitlines()[1]}


def test_a_member_gets_what_it_needs_of_the_program():
    """Each part has a member that needs it, and the others have not its functions."""
    source = (TEMPLATES / "firstboot.py").read_text()
    functions = {
        name: re.findall(r"^def (\w+)", text, re.MULTILINE)
        for name, text in re.findall(
            r"^# part (\w+).*?\n(.*?)^# end of part \1$", source, re.MULTILINE | re.DOTALL
        )
    }
    assert all(functions.values())
    everything = {"data_disk", "keys", "packages", "release", "scrub", "snapshot"}
    assert functions.keys() == everything
    needed = {
        ("icc-etcd", "embed"): {"packages"},
        ("icc-etcd", "split"): {"keys", "packages"},
        ("icc-etcd", "external"): {"keys", "packages"},
        ("release", "embed"): {"release"},
        ("hardened", "split"): {"data_disk", "keys", "packages", "scrub"},
    }
    for (example, secrets), parts in needed.items():
        program = files_of(documents(example, secrets=secrets))[guest.PROGRAM]["content"]
        defined = set(re.findall(r"^def (\w+)", program, re.MULTILINE))
        for name in everything:
            assert (set(functions[name]) <= defined) is (name in parts), (example, secrets, name)
            assert bool(set(functions[name]) & defined) is (name in parts)
    config = json.loads(files_of(documents("icc-etcd"))[guest.CONFIG]["content"])
    assert parts_for({**config, "snapshot": {"file": "x"}}) == {"packages", "snapshot"}
    install = {**config["install"], "packages": [], "files": [{"package": "etcd-server=3.5.16-4"}]}
    assert parts_for({**config, "install": install}) == {"packages", "release"}
    assert parts_for({**config, "install": {**install, "files": []}}) == set()


def statements(source: str) -> str:
    """What Python makes of a source, without docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                body[0] = ast.Pass()
        if isinstance(body, list):
            node.body = [n for n in body if not isinstance(n, ast.Pass)] or [ast.Pass()]
    return ast.dump(tree)


def test_comments_go_and_code_stays():
    """A hash in a string is none; what had only a docstring is still a body."""
    source = (
        '#!/usr/bin/python3\n"""Doc."""\n\n\nx = "# no"  # yes\n# yes\n\n\n\n'
        'class A(Exception):\n    """Doc\n\n    more."""\n\n\n'
        'def f():\n    """Doc."""\n    return f"{x}#"\n'
    )
    bare = without_comments(source, name="p.py")
    assert statements(bare) == statements(source)
    assert "yes" not in bare
    assert "Doc" not in bare
    assert "\n\n\n" not in bare
    space: dict = {}
    exec(bare, space)
    assert space["f"]() == "# no#"
    odd = 'x = """a\n\n\n# b\n"""  # why\n'
    assert without_comments(odd, name="p.py") == odd
    parted = "a = 1\n# part x: why\nb = 2\n# end of part x\nc = 3\n"
    assert without_comments(parted, name="p.py") == "a = 1\nc = 3\n"
    assert without_comments(parted, name="p.py", parts=frozenset({"x"})) == "a = 1\nb = 2\nc = 3\n"
    with pytest.raises(ImagegenError, match="is no Python"):
        without_comments("def f(:\n", name="p.py")


def test_instance_ids_differ_and_follow_the_generation_only():
    """Two members never share one; only an explicit generation makes a new one."""
    cluster, pki = built("icc-etcd")
    metas = [yaml.safe_load(documents("icc-etcd", n).meta_data) for n in range(5)]
    assert len({meta["instance-id"] for meta in metas}) == 5
    assert [meta["local-hostname"] for meta in metas] == [m.name for m in cluster.members]
    text = (EXAMPLES / "icc-etcd.yaml").read_text()
    second = make_cluster(
        text.replace("address: 10.240.0.11", "address: 10.240.0.11\n    generation: 2")
    )
    node = render_node(second, second.members[0], pki, Templates())
    assert yaml.safe_load(node.meta_data)["instance-id"] != metas[0]["instance-id"]


def test_users_keep_the_images_own():
    """Adding a user must not take the default one away."""
    config = yaml.safe_load(documents("hardened").user_data)
    assert config["users"][0] == "default"
    assert config["users"][1]["name"] == "operator"
    assert config["apt"]["preserve_sources_list"] is False
    assert config["ntp"]["servers"] == ["10.20.0.123"]


def test_hosts_map_every_member_and_none_to_loopback():
    """A member's own name is its address, not 127.0.1.1."""
    files = files_of(documents("icc-etcd"))
    lines = [line.split() for line in files["/etc/hosts"]["content"].splitlines() if line]
    names = {name: words[0] for words in lines for name in words[1:]}
    assert names["icc-etcd-1"] == "10.240.0.11"
    assert names["icc-etcd-5"] == "10.240.0.15"
    assert yaml.safe_load(documents("icc-etcd").user_data)["manage_etc_hosts"] is False


def test_hosts_may_name_the_loopback_address_too():
    """Beside localhost, by an entry of the spec; a fuzzer found that this was refused."""
    text = (EXAMPLES / "smallest.yaml").read_text()
    cluster = make_cluster(text + "hosts: [{address: '::1', names: [here, local]}]\n")
    credentials = issue_pki(cluster, stored=None, now=NOW).pki
    node = render_node(cluster, cluster.members[0], credentials, Templates())
    lines = files_of(node)["/etc/hosts"]["content"].splitlines()
    assert [line for line in lines if line.startswith("::1 ")][-1] == "::1 here local"


def test_a_lone_member_may_have_the_loopback_address_alone():
    """What etcd listens on it binds once."""
    cluster = make_cluster("cluster: c\nmembers: [{name: a, address: 127.0.0.1}]\n")
    assert cluster.members[0].listen_client_urls == ("https://127.0.0.1:2379",)


def test_units_pass_systemd(tmp_path):
    """systemd itself has nothing to say about the units."""
    program = require_program("systemd-analyze")
    files = files_of(documents("hardened"))
    for path, file in files.items():
        if path.startswith("/etc/systemd/system/"):
            target = tmp_path / path.removeprefix("/etc/systemd/system/")
            target.parent.mkdir(exist_ok=True)
            # The programs are the guest's.
            target.write_text(
                re.sub(r"^(Exec\w+=\+?)\S+", r"\1/bin/true", file["content"], flags=re.M)
            )
    (tmp_path / "etcd.service").write_text("[Service]\nType=notify\nExecStart=/bin/true\n")
    units = ["etcd.service", "imagegen-firstboot.service", "var-lib-etcd.mount"]
    run = subprocess.run(
        [program, "verify", "--man=no", *units],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    complaints = [line for line in run.stderr.splitlines() if str(tmp_path) in line]
    assert not complaints


@pytest.mark.parametrize(
    ("path", "unit"),
    [("/var/lib/etcd", "var-lib-etcd.mount"), ("/srv/etcd-data", r"srv-etcd\x2ddata.mount")],
)
def test_mount_units_are_named_by_systemds_rules(path, unit):
    """The name is not free: systemd derives it from the path."""
    assert guest.mount_unit(path) == unit
    program = require_program("systemd-escape")
    said = subprocess.run(
        [program, "--path", "--suffix=mount", path], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == unit


BROKEN = {
    "header": ("user-data.yaml.j2", "#cloud-config\n", "# mine\n#cloud-config\n", "first line"),
    "no filter": ("user-data.yaml.j2", "{{ file.content | yaml_text(6) }}", "{{ file.content }}", "YAML"),  # noqa: E501
    "mode": ("user-data.yaml.j2", "{{ file.permissions | yaml }}", "600", "write_files"),
    "runcmd": ("user-data.yaml.j2", "{% for command in config.runcmd + extra.runcmd %}", "{% for command in [] %}", "runcmd"),  # noqa: E501
    "hostname": ("user-data.yaml.j2", "hostname: {{ config.hostname | yaml }}", "hostname: me", "hostname"),  # noqa: E501
    "setting": ("etcd.env.j2", "{{ name }}=", "{{ name }}_=", "ETCD_NAME"),
    "gate": ("etcd-dropin.conf.j2", "ConditionPathExists", "#ConditionPathExists", "ConditionPathExists"),  # noqa: E501
    "check": ("etcd-dropin.conf.j2", "ExecCondition", "ExecStartPost", "ExecCondition"),
    "meta-data": ("meta-data.yaml.j2", "instance-id:", "instance_id:", "instance-id"),
    "network": ("network-config.yaml.j2", "{{ network | yaml_block }}", "version: 2", "version"),
    "unknown": ("meta-data.yaml.j2", 'meta["instance-id"]', "meta.instance_id", "does not exist"),
    "undefined": ("hosts.j2", "{{ address }}", "{{ adress }}", "undefined"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_template_that_does_not_say_what_it_must_is_refused(name, tmp_path):
    """Each way to break a seed by a template is caught before it becomes one."""
    template, old, new, word = BROKEN[name]
    text = (TEMPLATES / template).read_text()
    assert old in text
    (tmp_path / template).write_text(text.replace(old, new))
    with pytest.raises(ImagegenError) as caught:
        documents("icc-etcd", templates=Templates(tmp_path))
    assert word in str(caught.value)
    assert "PRIVATE KEY" not in str(caught.value)


def test_a_template_may_say_more(tmp_path):
    """A user's own settings and commands beside ours are fine."""
    text = (TEMPLATES / "user-data.yaml.j2").read_text()
    (tmp_path / "user-data.yaml.j2").write_text(
        text + '  - ["touch", "/mine"]\ntimezone: Europe/Berlin\n'
    )
    config = yaml.safe_load(documents("icc-etcd", templates=Templates(tmp_path)).user_data)
    assert config["timezone"] == "Europe/Berlin"
    assert config["runcmd"][-1] == ["touch", "/mine"]


def test_no_key_in_a_repr():
    """Values that hold keys do not show them."""
    cluster, pki = built("icc-etcd")
    node = documents("icc-etcd")
    assert "PRIVATE" not in repr(node) + repr(pki) + repr(cluster)


def test_any_pem_text_survives():
    """Whatever line ends and widths a brought certificate has, the guest gets the same bytes."""
    cluster, pki = built("icc-etcd")
    odd = "Bag Attributes\r\n\tlocalKeyID: 01 \r\n-----BEGIN CERTIFICATE-----\r\nMIIB \n"
    own = pki.members["icc-etcd-1"].server
    certificate = certificates_in(own.certificate_pem) and own.certificate_pem + odd
    credential = Credential(certificate_pem=certificate, key_pem=own.key_pem)
    changed = replace(
        pki, members={"icc-etcd-1": MemberCredentials(server=credential, peer=credential)}
    )
    node = render_node(cluster, cluster.members[0], changed, Templates())
    assert files_of(node)["/etc/etcd/kubernetes.pem"]["content"] == certificate
