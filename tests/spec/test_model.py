"""imagegen.spec.model: each setting takes what it is for."""

from __future__ import annotations

import pytest

from imagegen.spec.read import parse_spec
from tests.releases import install_section
from tests.spec.specs import PLAIN, SHA, Fault, assert_named

FAULTS = {
    "bad token": Fault(PLAIN + 'token: "a b"\n', ("token",)),
    "unknown way for secrets": Fault(PLAIN + "secrets: vault\n", ("secrets", "external")),
    "an architecture upstream does not build for": Fault(
        PLAIN
        + f'install: {{mode: release, release: {{version: "3.5.33", sha256: {{armhf: {SHA}}}}}}}\n',
        ("'armhf' is not known", "arm64"),
    ),
    "a branch for a release": Fault(
        PLAIN
        + f'install: {{mode: release, release: {{version: "3.5", sha256: {{amd64: {SHA}}}}}}}\n',
        ("install.release.version", "all three numbers"),
    ),
    "a release that corrupts": Fault(
        PLAIN
        + f'install: {{mode: release, release: {{version: "3.5.1", sha256: {{amd64: {SHA}}}}}}}\n',
        ("corrupt data",),
    ),
    "a file in a bundle that says nothing": Fault(
        PLAIN + f"install: {{mode: bundle, bundle: [{{file: etcd.tgz, sha256: {SHA}}}]}}\n",
        ("install.bundle[0].file", "neither which release nor which package"),
    ),
    "a source whose key is none": Fault(
        PLAIN
        + """\
install:
  apt:
    sources: [{name: x, uri: "http://m.test/x", suite: x, key: "0xABCD"}]
""",
        ("install.apt.sources[0].key", "gpg --armor"),
    ),
    "a release without digests": Fault(
        PLAIN + 'install: {mode: release, release: {version: "3.5.33"}}\n',
        ("install.release: sha256 is missing",),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name):
    """Each fault has a message of its own, with a place and a hint."""
    assert_named(FAULTS[name])


@pytest.mark.parametrize(
    ("more", "release", "tracker"),
    [
        ("", None, "the distribution's security tracker"),
        ("distribution: ubuntu-24.04\n", "3.4.30", "https://ubuntu.com/security/"),
        ("distribution: debian-13\n", "3.5.16", "https://security-tracker.debian.org/"),
        ("etcd: {version: 3.6.16}\n", "3.6.16", "the distribution's"),
        ("etcd: {version: '3.6'}\n", None, "the distribution's"),
        ("install: {packages: [etcd-server=3.5.30+ds-1]}\n", "3.5.30", "the distribution's"),
        ("install: {packages: [etcd-client=3.5.30+ds-1]}\n", None, "the distribution's"),
        (install_section("3.7.0"), "3.7.0", None),
    ],
)
def test_which_release_the_members_get(more, release, tracker):
    """To the patch level or not at all, and who knows what a package of it has."""
    spec, _ = parse_spec(PLAIN + more, source="c.yaml")
    assert (str(spec.etcd_release) if spec.etcd_release else None) == release
    if tracker:
        assert str(spec.package_tracker).startswith(tracker)
    else:
        assert spec.package_tracker is None
