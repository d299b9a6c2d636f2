"""imagegen.documents.render: documents that say what was meant, to every parser that reads them."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from imagegen.documents.render import render_node
from imagegen.documents.templates import Templates
from tests.conftest import EXAMPLES, make_cluster, require_program
from tests.documents.rendered import RENDERED, built, documents


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


def test_a_lone_member_may_have_the_loopback_address_alone():
    """What etcd listens on it binds once."""
    cluster = make_cluster("cluster: c\nmembers: [{name: a, address: 127.0.0.1}]\n")
    assert cluster.members[0].listen_client_urls == ("https://127.0.0.1:2379",)


def test_no_key_in_a_repr():
    """Values that hold keys do not show them."""
    cluster, pki = built("icc-etcd")
    node = documents("icc-etcd")
    assert "PRIVATE" not in repr(node) + repr(pki) + repr(cluster)
