"""imagegen.pki.pem: what is read, and what is never shown."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from imagegen.pki.model import Credential, MemberCredentials, Pki
from imagegen.pki.pem import (
    KEY_MAKERS,
    describe,
    key_pem,
    private_key_in,
)
from tests.pki.clusters import (
    cluster_of,
    issue,
)


def test_describe():
    facts = describe(issue(cluster_of()).pki.members["etcd-3"].peer.certificate_pem)
    assert facts.common_name == "etcd-3"
    assert facts.sans == ("etcd-3", str(ip_address("fd00::13")))
    with pytest.raises(ValueError, match="is not PEM"):
        describe("")


def test_no_key_is_shown():
    """Not by repr or str of any value, nor by any problem about a key."""
    pki = issue(cluster_of("lab")).pki
    secret = pki.members["etcd-1"].server.key_pem.splitlines()[1]
    values = (pki, issue(cluster_of("lab"), pki), pki.ca, MemberCredentials(**vars_of(pki)))
    assert not any(
        "PRIVATE" in text or secret in text for v in values for text in (repr(v), str(v))
    )
    text = key_pem(KEY_MAKERS["ecdsa-p256"]())
    for broken in (text[:-60], text.replace("M", "!", 1), text.replace("PRIVATE", "PUBLIC")):
        with pytest.raises(ValueError) as caught:  # noqa: PT011  # what it must not say is the point
            private_key_in(broken)
        assert not any(line in str(caught.value) for line in text.splitlines()[1:-1])


def vars_of(pki: Pki) -> dict[str, Credential]:
    member = pki.members["etcd-1"]
    return {"server": member.server, "peer": member.peer}
