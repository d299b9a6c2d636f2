"""How many days before its end a certificate is warned of is one number, wherever it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from cryptography import x509

from imagegen.base.problems import Problem
from imagegen.day2.certificates import list_certificates
from imagegen.live.findings import _Judging
from imagegen.pki.faults import date_faults
from imagegen.pki.issue import issue_pki
from imagegen.pki.model import Pki
from imagegen.pki.pem import certificates_in
from tests.conftest import NOW, make_cluster

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def pki() -> Pki:
    cluster = make_cluster("cluster: c\nmembers: [{name: a, address: 10.0.0.1}]\n")
    return issue_pki(cluster, stored=None, now=NOW).pki


def of_a_brought_one(certificate: x509.Certificate, pki: Pki, now: datetime) -> Iterator[Problem]:
    return date_faults(certificate, now, "renew it")


def of_a_listed_one(certificate: x509.Certificate, pki: Pki, now: datetime) -> Iterator[Problem]:
    [one] = [
        one for one in list_certificates(pki, now=now) if one.serial == certificate.serial_number
    ]
    return one.problems()


def of_a_served_one(certificate: x509.Certificate, pki: Pki, now: datetime) -> Iterator[Problem]:
    looked = SimpleNamespace(report=SimpleNamespace(at=now))
    return _Judging.ending(looked, "etcd-1", certificate, "renew it")  # type: ignore[arg-type]


@pytest.mark.parametrize("warned", [of_a_brought_one, of_a_listed_one, of_a_served_one])
def test_two_months_are_soon(warned: Callable[..., Iterator[Problem]], pki: Pki) -> None:
    """With 60 whole days left nothing is said, with a second less it is."""
    [certificate] = certificates_in(pki.members["a"].server.certificate_pem)
    end = certificate.not_valid_after_utc
    assert list(warned(certificate, pki, end - 60 * DAY)) == []
    [problem] = warned(certificate, pki, end - 60 * DAY + timedelta(seconds=1))
    assert f"{end:%Y-%m-%d}" in problem.what
    assert "59 days" in problem.what
