"""imagegen.spec.checks.etcd: settings are judged for the etcd that the members run."""

from __future__ import annotations

import pytest

from imagegen.base.problems import Severity
from tests.spec.specs import PLAIN, SHA, Fault, assert_named, problems_of

FAULTS = {
    "election below five heartbeats": Fault(
        PLAIN + "etcd: {heartbeat_interval_ms: 500, election_timeout_ms: 2000}\n",
        ("election", "5"),
    ),
    "setting the target does not know": Fault(
        PLAIN + 'distribution: debian-12\netcd: {settings: {ETCD_TLS_MIN_VERSION: "TLS1.2"}}\n',
        ("ETCD_TLS_MIN_VERSION", "3.4.25"),
    ),
    "setting nobody knows": Fault(
        PLAIN + "etcd: {settings: {ETCD_SNAPSHOT_CONT: '10000'}}\n", ("ETCD_SNAPSHOT_COUNT",)
    ),
    "setting of ours": Fault(
        PLAIN + "etcd: {settings: {ETCD_INITIAL_CLUSTER_STATE: existing}}\n",
        ("ETCD_INITIAL_CLUSTER_STATE",),
    ),
    "dangerous setting": Fault(
        PLAIN + 'etcd: {settings: {ETCD_UNSAFE_NO_FSYNC: "true"}}\n', ("ETCD_UNSAFE_NO_FSYNC",)
    ),
    "large quota": Fault(PLAIN + "etcd: {quota: 16GiB}\n", ("8",), Severity.WARNING),
    "metrics for all": Fault(PLAIN + "etcd: {metrics_url: 'http://0.0.0.0:2381'}\n", ("anyone",)),
    "ports alike": Fault(PLAIN + "etcd: {client_port: 2380}\n", ("peer_port",)),
    "distribution too old": Fault(
        PLAIN + "distribution: ubuntu-22.04\n", ("3.3", "older than 3.4")
    ),
    "data directory off the disk": Fault(
        PLAIN + "data_disk: {device: /dev/vdb}\netcd: {data_directory: /srv/etcd}\n",
        ("etcd.data_directory", "/var/lib/etcd"),
    ),
    "pinned etcd that corrupts data": Fault(
        PLAIN + 'install: {packages: ["etcd-server=3.5.2+ds-1"]}\n',
        ("install.packages[0]", "corrupts"),
    ),
    "a distribution too old for packages points to release": Fault(
        PLAIN + "distribution: ubuntu-22.04\n", ("3.3", "mode: release")
    ),
    "a distribution too old for first boot": Fault(
        PLAIN + "distribution: debian-11\n", ("Python", "debian-12")
    ),
    "a setting the release does not know": Fault(
        PLAIN
        + f"""\
etcd: {{settings: {{ETCD_FEATURE_GATES: InitialCorruptCheck=true}}}}
install: {{mode: release, release: {{version: "3.5.33", sha256: {{amd64: {SHA}}}}}}}
""",
        ("ETCD_FEATURE_GATES",),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name):
    """Each fault has a message of its own, with a place and a hint."""
    assert_named(FAULTS[name])


def test_an_unreadable_package_hides_no_other_fault():
    """What the packages pin is not known then; everything else is judged all the same."""
    for packages in ("[7, etcd-server]", "7"):
        found = problems_of(
            PLAIN + f"install: {{packages: {packages}}}\netcd: {{settings: {{ETCD_NO: x}}}}\n"
        )
        assert any("install.packages" in problem for problem in found)
        assert any("ETCD_NO" in problem for problem in found)


@pytest.mark.parametrize("pin", ["x", "3", "3." + "9" * 5000])
def test_a_pin_that_is_no_version_is_an_error(pin):
    """Which settings etcd knows could not be said."""
    found = problems_of(PLAIN + f"install: {{packages: ['etcd-server={pin}']}}\n")
    assert any("install.packages[0]" in problem for problem in found)


@pytest.mark.parametrize(
    "unread",
    [
        'install: {mode: release, release: {version: "3.6"}}\n',
        "install: {packages: [etcd-server=x]}\n",
        "distribution: debian-99\n",
        "etcd: {version: 3.6}\n",
    ],
)
def test_a_setting_is_not_judged_for_an_etcd_that_is_not_known(unread):
    """3.4 does not know ETCD_MAX_LEARNERS, but nothing says that 3.4 is what was meant."""
    written = "etcd: {settings: {ETCD_MAX_LEARNERS: '2', ETCD_NO: x}}\n"
    if unread.startswith("etcd"):
        unread, written = "", written.replace("{", "{version: 3.6, ", 1)
    found = problems_of(PLAIN + unread + written)
    assert any("ETCD_NO" in problem for problem in found)
    assert not any("ETCD_MAX_LEARNERS" in problem for problem in found)
