"""imagegen.spec.checks.install: the mode has all it needs, and nothing else."""

from __future__ import annotations

import pytest

from tests.spec.specs import PLAIN, SHA, Fault, assert_named

FAULTS = {
    "mode release without a release": Fault(
        PLAIN + "install: {mode: release}\n", ("install: mode release needs", "imagegen pin")
    ),
    "a release for no architecture": Fault(
        PLAIN + 'install: {mode: release, release: {version: "3.5.33", sha256: {}}}\n',
        ("install.release.sha256", "no architecture"),
    ),
    "etcd 3.4 on arm64": Fault(
        PLAIN
        + f'install: {{mode: release, release: {{version: "3.4.45", sha256: {{arm64: {SHA}}}}}}}\n',
        ("does not start on arm64",),
    ),
    "one address for two archives": Fault(
        PLAIN
        + f"""\
install:
  mode: release
  release:
    {{version: "3.5.33", sha256: {{amd64: {SHA}, arm64: {SHA}}}, url: "http://m.test/etcd.tgz"}}
""",
        ("install.release.url", "{architecture}"),
    ),
    "a placeholder nobody fills in": Fault(
        PLAIN
        + f"""\
install:
  mode: release
  release: {{version: "3.5.33", sha256: {{amd64: {SHA}}}, url: "http://m.test/{{arch}}.tgz"}}
""",
        ("{arch} is not known", "{architecture}"),
    ),
    "a password in an address": Fault(
        PLAIN
        + f"""\
install:
  mode: release
  release: {{version: "3.5.33", sha256: {{amd64: {SHA}}}, url: "http://joe:pw@m.test/etcd.tgz"}}
""",
        ("install.release.url: holds a user name",),
    ),
    "a version beside the release's": Fault(
        PLAIN
        + f"""\
etcd: {{version: "3.4.30"}}
install: {{mode: release, release: {{version: "3.5.33", sha256: {{amd64: {SHA}}}}}}}
""",
        ("etcd.version: the release is 3.5.33",),
    ),
    "mode bundle without files": Fault(
        PLAIN + "install: {mode: bundle}\n", ("install: mode bundle needs", "imagegen pin")
    ),
    "mode release with an empty release": Fault(
        PLAIN + "install: {mode: release, release: }\n", ("install: mode release needs",)
    ),
    "mode bundle with an empty bundle": Fault(
        PLAIN + "install: {mode: bundle, bundle: }\n", ("install: mode bundle needs",)
    ),
    "mode bundle with no file in its bundle": Fault(
        PLAIN + "install: {mode: bundle, bundle: []}\n", ("install: mode bundle needs",)
    ),
    "a bundle of two releases": Fault(
        PLAIN
        + f"""\
install:
  mode: bundle
  bundle:
    - {{file: a/etcd-v3.5.33-linux-amd64.tar.gz, sha256: {SHA}}}
    - {{file: a/etcd-v3.5.32-linux-arm64.tar.gz, sha256: {SHA}}}
""",
        ("install.bundle: archives of one release",),
    ),
    "a bundle without etcd": Fault(
        PLAIN
        + f"install: {{mode: bundle, bundle: [{{file: jq_1.7-1_amd64.deb, sha256: {SHA}}}]}}\n",
        ("install.bundle: no package brings etcd",),
    ),
    "packages in a bundle that fetches nothing": Fault(
        PLAIN
        + f"""\
install:
  mode: bundle
  extra_packages: [chrony]
  bundle: [{{file: etcd-v3.5.33-linux-amd64.tar.gz, sha256: {SHA}}}]
""",
        (
            "install.extra_packages: has no effect when install.mode is bundle",
            "list the package's file",
        ),
    ),
    "a release in mode package": Fault(
        PLAIN + f'install: {{release: {{version: "3.5.33", sha256: {{amd64: {SHA}}}}}}}\n',
        ("install.release: has no effect when install.mode is package",),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name):
    """Each fault has a message of its own, with a place and a hint."""
    assert_named(FAULTS[name])
