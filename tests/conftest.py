"""What every test may use: programs it needs, clusters, and the examples."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagegen.cluster.cluster import Cluster, Identity
from imagegen.spec.read import parse_spec

pytest_plugins = ["tests.real_etcd.versions"]

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
TEMPLATES = ROOT / "cloud_init_templates"
NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)


def require_program(name: str) -> str:
    """Its path; without it the test is skipped by name."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if not path:
        pytest.skip(f"{name} is not installed")
    return path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Where everything is installed, a test that cannot run is a failure, not a skip."""
    report = yield
    if report.skipped and os.environ.get("IMAGEGEN_REQUIRE_ALL") == "1":
        report.outcome = "failed"
    return report


def make_cluster(text: str, *, token: str = "token-of-a-test") -> Cluster:
    """A cluster from a spec's text, with a fixed identity."""
    spec, _ = parse_spec(text, source="test.yaml")
    identity = Identity(store_id="0" * 32, token=spec.token or token, created=NOW)
    return Cluster(spec=spec, identity=identity)


@pytest.fixture
def lab_cluster() -> Cluster:
    """The cluster of examples/icc-etcd.yaml."""
    return make_cluster((EXAMPLES / "icc-etcd.yaml").read_text())


@pytest.fixture
def small_cluster() -> Cluster:
    """The cluster of examples/smallest.yaml: three members, layout separate."""
    return make_cluster((EXAMPLES / "smallest.yaml").read_text())
