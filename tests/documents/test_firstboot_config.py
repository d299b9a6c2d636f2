"""imagegen.documents.firstboot_config: what the first-boot program knows, and gets of itself."""

from __future__ import annotations

import json
import re

from imagegen.cluster.cluster import hex_id
from imagegen.documents import guest
from imagegen.documents.firstboot_config import parts_for
from tests.conftest import TEMPLATES
from tests.documents.rendered import built, documents, files_of


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
