"""imagegen.cluster.cluster: what follows from a spec, checked against published texts."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen.cluster.cluster import cluster_id, hex_id, host_in_url, instance_id, member_id
from tests.conftest import make_cluster


def test_ids_of_the_lab():
    """The member IDs that the lab prints, and their cluster's."""
    urls = [f"https://141.22.30.{host}:2380" for host in range(32, 37)]
    ids = [member_id([url], "etcd-cluster-0") for url in urls]
    assert [hex_id(number) for number in ids] == [
        "f15071bb2bcc0510",
        "ca225d371e604f6c",
        "3d9ce7c381e7f003",
        "3d0fa8ceae1b7a61",
        "f65430d6c44d7a2a",
    ]
    assert hex_id(cluster_id(ids)) == "cb4d04d908f08a13"


def test_ids_of_kubernetes_the_hard_way():
    """The member IDs that the text's last edition with TLS prints."""
    urls = [f"https://10.240.0.{host}:2380" for host in (10, 11, 12)]
    assert [hex_id(member_id([url], "etcd-cluster-0")) for url in urls] == [
        "f98dc20bce6225a0",
        "ffed16798470cab5",
        "3a57933972cb5131",
    ]


def test_id_of_the_packages_accidental_cluster():
    """What etcd becomes when a package starts it with no settings at all."""
    number = member_id(["http://localhost:2380"], "etcd-cluster")
    assert (hex_id(number), hex_id(cluster_id([number]))) == (
        "8e9e05c52164694d",
        "cdf818194e3a8c32",
    )


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=9), st.randoms())
def test_cluster_id_ignores_the_order_of_members(ids, random):
    """Members listed in any order are the same cluster."""
    shuffled = random.sample(ids, len(ids))
    assert cluster_id(ids) == cluster_id(shuffled)


def test_initial_cluster_is_the_same_for_all_and_names_each_once(lab_cluster):
    """Every member sees the same initial cluster, itself in it once."""
    texts = {lab_cluster.settings(m, None)["ETCD_INITIAL_CLUSTER"] for m in lab_cluster.members}
    [text] = texts
    pairs = dict(entry.split("=", 1) for entry in text.split(","))
    assert pairs == {m.name: m.peer_url for m in lab_cluster.members}
    assert len(text.split(",")) == 5


def test_all_seventeen_settings_of_the_lab(lab_cluster):
    """Each setting of the lab is there, and says what the lab meant."""
    member = lab_cluster.members[3]
    settings = dict(lab_cluster.settings(member, None))
    del settings["ETCD_PRE_VOTE"], settings["ETCD_LOGGER"]
    initial = ",".join(f"icc-etcd-{n}=https://10.240.0.{10 + n}:2380" for n in range(1, 6))
    assert settings == {
        "ETCD_NAME": "icc-etcd-4",
        "ETCD_DATA_DIR": "/var/lib/etcd",
        "ETCD_LISTEN_PEER_URLS": "https://10.240.0.14:2380",
        "ETCD_LISTEN_CLIENT_URLS": "https://10.240.0.14:2379,https://127.0.0.1:2379",
        "ETCD_INITIAL_ADVERTISE_PEER_URLS": "https://10.240.0.14:2380",
        "ETCD_ADVERTISE_CLIENT_URLS": "https://10.240.0.14:2379",
        "ETCD_INITIAL_CLUSTER": initial,
        "ETCD_INITIAL_CLUSTER_STATE": "new",
        "ETCD_INITIAL_CLUSTER_TOKEN": "etcd-cluster-0",
        "ETCD_CERT_FILE": "/etc/etcd/kubernetes.pem",
        "ETCD_KEY_FILE": "/etc/etcd/kubernetes-key.pem",
        "ETCD_TRUSTED_CA_FILE": "/etc/etcd/ca.pem",
        "ETCD_CLIENT_CERT_AUTH": "true",
        "ETCD_PEER_CERT_FILE": "/etc/etcd/kubernetes.pem",
        "ETCD_PEER_KEY_FILE": "/etc/etcd/kubernetes-key.pem",
        "ETCD_PEER_TRUSTED_CA_FILE": "/etc/etcd/ca.pem",
        "ETCD_PEER_CLIENT_CERT_AUTH": "true",
    }


HOMES = """\
cluster: homes
members:
  - {name: a, address: 10.0.0.1, peer_address: 10.1.0.1, client_address: 10.2.0.1,
     dns_names: [a.example], extra_addresses: [203.0.113.9]}
  - {name: b, address: 10.0.0.2}
  - {name: c, address: "2001:db8::3"}
"""


def test_every_url_has_its_host_in_the_certificate():
    """Whatever is dialled or dials is named by the certificate shown there."""
    cluster = make_cluster(HOMES)
    for member in cluster.members:
        server = {str(address) for address in member.server_addresses}
        for url in (member.client_url, *member.listen_client_urls):
            assert urlsplit(url).hostname in server
        assert urlsplit(member.peer_url).hostname in set(map(str, member.peer_addresses))
        assert {"127.0.0.1", "::1"} <= server
        assert {"localhost", member.name} <= set(member.server_names)


def test_each_address_serves_its_purpose():
    """Peers and clients may reach a member by different networks."""
    a, _, c = make_cluster(HOMES).members
    assert (a.peer_url, a.client_url) == ("https://10.1.0.1:2380", "https://10.2.0.1:2379")
    assert [str(address) for address in a.advertised_addresses] == ["10.1.0.1", "10.2.0.1"]
    assert "203.0.113.9" in map(str, a.peer_addresses)
    assert c.peer_url == "https://[2001:db8::3]:2380"
    assert c.listen_client_urls[1] == "https://[::1]:2379"


def test_instance_id_is_identity_alone():
    """It differs by store, cluster, member and generation, and by nothing else."""
    same = instance_id("s", "c", "m", 1)
    assert same == instance_id("s", "c", "m", 1)
    others = [
        instance_id("t", "c", "m", 1),
        instance_id("s", "d", "m", 1),
        instance_id("s", "c", "n", 1),
        instance_id("s", "c", "m", 2),
    ]
    assert len({same, *others}) == 5
    # cloud-init makes a directory of it.
    assert all(part.isalnum() for part in same.split("-"))


@pytest.mark.parametrize(
    ("distribution", "pre_vote"),
    [("debian-12", "true"), ("debian-13", None), ("debian-14", None), (None, "true")],
)
def test_pre_vote_where_it_is_not_the_default(distribution, pre_vote):
    """etcd 3.4 needs to be told; 3.5 does it by itself."""
    line = f"distribution: {distribution}\n" if distribution else ""
    cluster = make_cluster(HOMES + line)
    assert cluster.settings(cluster.members[0], None).get("ETCD_PRE_VOTE") == pre_vote


def test_the_operators_settings_win():
    """Friendly settings become etcd's; further ones are passed on."""
    cluster = make_cluster(
        HOMES + "etcd: {quota: 8GiB, auto_compaction: 1h, heartbeat_interval_ms: 200,"
        " election_timeout_ms: 2000, metrics_url: 'http://127.0.0.1:2381',"
        " settings: {ETCD_PRE_VOTE: 'false', ETCD_LOG_LEVEL: warn}}\n"
    )
    settings = cluster.settings(cluster.members[0], "homes")
    assert settings["ETCD_QUOTA_BACKEND_BYTES"] == str(8 * 1024**3)
    assert settings["ETCD_AUTO_COMPACTION_MODE"] == "periodic"
    assert settings["ETCD_AUTO_COMPACTION_RETENTION"] == "1h"
    assert settings["ETCD_HEARTBEAT_INTERVAL"] == "200"
    assert settings["ETCD_ELECTION_TIMEOUT"] == "2000"
    assert settings["ETCD_LISTEN_METRICS_URLS"] == "http://127.0.0.1:2381"
    assert settings["ETCD_PRE_VOTE"] == "false"
    assert settings["ETCD_LOG_LEVEL"] == "warn"
    assert settings["ETCD_PEER_CERT_ALLOWED_CN"] == "homes"


def test_a_data_disks_top_directory_is_not_the_data_directory():
    """lost+found there would make etcd complain."""
    cluster = make_cluster(HOMES + "data_disk: {device: /dev/vdb}\n")
    assert cluster.data_directory == "/var/lib/etcd/data"


def test_brackets_around_ipv6():
    """RFC 3986 wants them in a URL's host, and only there."""
    member = make_cluster(HOMES).members[2]
    assert host_in_url(member.peer_address) == "[2001:db8::3]"
