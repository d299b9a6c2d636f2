"""imagegen.documents.readback: a template that does not say what it must is refused."""

from __future__ import annotations

import pytest
import yaml

from imagegen.base.problems import ImagegenError
from imagegen.documents.templates import Templates
from tests.conftest import TEMPLATES
from tests.documents.rendered import documents

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
