"""Seeds to be judged, and what is said of them."""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import ip_address

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from imagegen.base.problems import Problem, Severity
from imagegen.judge.seed.inspect import inspect_seed
from imagegen.judge.seed.report import Report
from imagegen.media.nocloud import build_seed
from tests.conftest import NOW

META_DATA = b"instance-id: i-1\nlocal-hostname: etcd-1\n"
CLEAN = b"#cloud-config\nhostname: etcd-1\n"
NETWORK = b"""\
version: 1
config:
- type: physical
  name: eth0
  mac_address: "52:54:00:12:34:56"
  subnets: [{type: static, address: 10.0.0.11/24}]
"""
# No key: what must not show up anywhere.
SECRET = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0"
KEY = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"


def inspect(user_data: bytes = CLEAN, meta_data: bytes = META_DATA, **others: bytes) -> Report:
    """Put documents on a seed of ours and inspect it."""
    files = {"user-data": user_data, "meta-data": meta_data}
    files |= {name.replace("_", "-"): content for name, content in others.items()}
    return inspect_seed(build_seed(files, when=NOW), source="seed.iso")


def cloud_config(**values: object) -> bytes:
    return b"#cloud-config\n" + yaml.safe_dump(values).encode()


def only(report: Report) -> Problem:
    """The one problem of a report, which says where and how to mend it."""
    assert len(report.problems) == 1, report.problems
    (problem,) = report.problems
    assert problem.where.startswith("seed.iso")
    assert problem.hint
    assert report.accepted == (problem.severity is Severity.WARNING)
    return problem


def assert_error(report: Report, what: str, where: str = "seed.iso") -> None:
    problem = only(report)
    assert problem.severity is Severity.ERROR
    assert re.search(what, problem.what), problem.what
    assert problem.where.startswith(where), problem.where


def assert_warning(report: Report, what: str, where: str = "seed.iso") -> None:
    problem = only(report)
    assert problem.severity is Severity.WARNING
    assert re.search(what, problem.what), problem.what
    assert problem.where.startswith(where), problem.where


def make_certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "etcd-1")])
    sans = [x509.DNSName("etcd-1.lab"), x509.IPAddress(ip_address("10.0.0.11"))]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(sans), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)
