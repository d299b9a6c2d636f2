"""imagegen.documents.cloud_config: the operator's own settings beside imagegen's."""

from __future__ import annotations

import pytest
import yaml

from imagegen.documents.render import render_node
from imagegen.documents.templates import Templates
from imagegen.pki.issue import issue_pki
from tests.cloud_init import VERSIONS, merged
from tests.conftest import EXAMPLES, NOW, make_cluster
from tests.documents.rendered import documents

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


def test_users_keep_the_images_own():
    """Adding a user must not take the default one away."""
    config = yaml.safe_load(documents("hardened").user_data)
    assert config["users"][0] == "default"
    assert config["users"][1]["name"] == "operator"
    assert config["apt"]["preserve_sources_list"] is False
    assert config["ntp"]["servers"] == ["10.20.0.123"]
