"""imagegen.documents.guest: names that a member or its platform has rules for."""

from __future__ import annotations

import json
import subprocess

import pytest

from imagegen.documents import guest
from tests.conftest import require_program
from tests.documents.rendered import built, documents, files_of


def test_the_label_of_the_keys_names_the_member():
    """Each member and each generation has a label of its own, which fits into Joliet's 16."""
    cluster, _ = built("icc-etcd")
    labels = {guest.keys_label(member.instance_id) for member in cluster.members}
    assert len(labels) == 5
    assert {len(label) for label in labels} == {16}
    config = json.loads(files_of(documents("icc-etcd", secrets="split"))[guest.CONFIG]["content"])
    assert config["keys"]["disk"] in labels


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
