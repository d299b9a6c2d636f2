"""imagegen.documents.guest_files: what user-data writes to a member."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace

import pytest
import yaml

from imagegen.documents import guest
from imagegen.documents.env_file import parse_env
from imagegen.documents.render import render_node
from imagegen.documents.templates import Templates
from imagegen.pki.issue import issue_pki
from imagegen.pki.model import Credential, MemberCredentials
from imagegen.pki.pem import certificates_in
from tests.conftest import EXAMPLES, NOW, make_cluster, require_program
from tests.documents.rendered import RENDERED, built, documents, files_of


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
