"""What must hold for every spec, through the spec, the documents and those who read them."""

from __future__ import annotations

import dataclasses
import subprocess
from dataclasses import replace
from datetime import datetime
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from cryptography import x509
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from imagegen.cluster.cluster import Cluster
from imagegen.documents import guest
from imagegen.documents.env_file import parse_env
from imagegen.documents.render import render_node
from imagegen.documents.templates import Templates
from imagegen.media.iso_reader import read_seed
from imagegen.media.nocloud import build_seed
from imagegen.pki.issue import issue_pki
from imagegen.pki.model import Pki
from imagegen.pki.pem import certificates_in
from imagegen.spec.read import parse_spec
from imagegen.spec.words import SIZE
from tests.cloud_init import VERSIONS, run_in
from tests.conftest import NOW, make_cluster, require_program

TEMPLATES = Templates()
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
#: What a program can be given as an argument.
ARGUMENT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
#: What systemd takes in an EnvironmentFile, on one line.
LINE = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cn"], exclude_characters="\ufeff"), min_size=1
)
TRICKY = [" a ", "'", '"', "\\", "\n", "#", ": ", "- ", "%n", "$HOME", "{{ x }}", "{%", "`id`"]
TRICKY += [
    "\x85",
    "\u2028",
    "\ufeff",
    "\t",
    "\r\n",
    "no",
    "0600",
    "~",
    "",
    "--",
    "$(id)",
    "é",
    "😀",
]
few = settings(
    max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
#: Each example starts cloud-init's Python.
very_few = settings(few, max_examples=4)


# --- any text in any free field --------------------------------------------------------


@cache
def small_pki() -> Pki:
    return issue_pki(make_cluster(yaml.safe_dump(plain_spec())), stored=None, now=NOW).pki


def plain_spec(**settings: Any) -> dict[str, Any]:
    members = [{"name": f"m{n}", "address": f"10.0.0.{n}"} for n in (1, 2, 3)]
    return {"cluster": "c", "members": members, **settings}


def documents_of(**settings: Any) -> dict[str, bytes]:
    cluster = make_cluster(yaml.safe_dump(plain_spec(**settings)))
    return render_node(cluster, cluster.members[0], small_pki(), TEMPLATES).files()


@few
@example(TRICKY)
@given(st.lists(TEXT, min_size=1, max_size=5))
def test_text_for_cloud_init_survives(texts):
    """Content, command, value and key of extra_user_data, read from the seed by PyYAML."""
    extra = {
        "write_files": [{"path": f"/opt/{n}", "content": text} for n, text in enumerate(texts)],
        "runcmd": [["echo", *texts], *texts],
        "ssh_authorized_keys": texts,
        "final_message": texts[0],
        "x": {text: [text] for text in texts},
    }
    seed = read_seed(build_seed(documents_of(extra_user_data=extra), when=NOW))
    config = yaml.safe_load(seed.find("user-data").content)
    written = {file["path"]: file["content"] for file in config["write_files"]}
    assert [written[f"/opt/{n}"] for n in range(len(texts))] == texts
    assert config["runcmd"][-len(texts) - 1 :] == [["echo", *texts], *texts]
    assert config["ssh_authorized_keys"] == texts
    assert (config["final_message"], config["x"]) == (texts[0], extra["x"])


@few
@given(
    LINE,
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128),
    LINE,
)
def test_text_for_etcd_and_ssh_survives(value, token, comment):
    """An ETCD_ variable and the token reach etcd's environment, a key's comment its file."""
    documents = documents_of(
        token=token,
        etcd={"settings": {"ETCD_HOST_WHITELIST": value}},
        ssh_authorized_keys=[f"ssh-ed25519 AAAA {comment}"],
    )
    config = yaml.safe_load(documents["user-data"])
    [text] = [f["content"] for f in config["write_files"] if f["path"] == guest.ETCD_DEFAULTS]
    environment = parse_env(text)
    assert environment["ETCD_HOST_WHITELIST"] == value
    assert environment["ETCD_INITIAL_CLUSTER_TOKEN"] == token
    assert config["ssh_authorized_keys"] == [f"ssh-ed25519 AAAA {comment}"]


@pytest.mark.parametrize("version", VERSIONS)
@very_few
@example(TRICKY)
@given(st.lists(ARGUMENT, min_size=10, max_size=40))
def test_text_survives_cloud_init_and_the_guests_shell(version, texts):
    """cloud-init's own code reads the document and writes the script that a shell then runs."""
    shell = require_program("sh")
    command = ["printf", r"%s\0", *texts]
    extra = {"write_files": [{"path": "/opt/x", "content": t} for t in texts], "runcmd": [command]}
    code = """
from cloudinit import util
config = merged(sys.stdin.buffer.read())
written = [file["content"] for file in config["write_files"] if file["path"] == "/opt/x"]
result = {"written": written, "script": util.shellify(config["runcmd"][-1:])}
"""
    result = run_in(version, code, documents_of(extra_user_data=extra)["user-data"])
    assert result["written"] == texts
    run = subprocess.run([shell], input=result["script"].encode(), capture_output=True, check=True)
    assert run.stdout.decode().split("\0") == [*texts, ""]


@few
@example("\n".join(TRICKY))
@given(ARGUMENT)
def test_text_survives_our_own_shell_filter(text):
    """What apply.sh is given as a word is that word to the shell."""
    shell = require_program("sh")
    quoted = TEMPLATES._environment.filters["shell"](text)
    script = f"printf %s {quoted}".encode()
    assert subprocess.run([shell], input=script, capture_output=True).stdout.decode() == text


# --- any cluster -----------------------------------------------------------------------

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
ADDRESSES = st.one_of(
    st.integers(2**24, 2**24 * 223).map(IPv4Address),
    st.integers(2**125, 2**125 + 2**100).map(IPv6Address),
).map(str)

ARCHIVE = "etcd-v3.5.33-linux-amd64.tar.gz"
INSTALLS: list[dict[str, Any]] = [
    {"mode": "package", "packages": ["etcd-server=3.5.16-4", "etcd-client"]},
    {"mode": "release", "release": {"version": "3.5.33", "sha256": {"amd64": "0a" * 32}}},
    {"mode": "bundle", "bundle": [{"file": ARCHIVE, "sha256": "0a" * 32}]},
    {"mode": "preinstalled", "minimum_version": "3.5.16"},
]


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """Good specs, each part of which may be there or not."""
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    count = len(names) * 4
    addresses = iter(draw(st.lists(ADDRESSES, min_size=count, max_size=count, unique=True)))
    members = []
    for name in names:
        member: dict[str, Any] = {"name": name, "address": next(addresses)}
        for key in ("peer_address", "client_address"):
            if draw(st.booleans()):
                member[key] = next(addresses)
        if draw(st.booleans()):
            member["dns_names"] = [f"{draw(NAMES)}.example.org"]
            member["extra_addresses"] = [next(addresses)]
        members.append(member)
    optional = {
        "token": st.sampled_from(["t", "a'b", '"$x`']),
        "distribution": st.sampled_from(["debian-12", "debian-13"]),
        "bootstrap_until": st.datetimes(datetime(2000, 1, 1)).map(
            lambda time: f"{time.isoformat()}+01:30"
        ),
        "after_boot": st.sampled_from(["keep", "scrub"]),
        "secrets": st.sampled_from(["embed", "split", "external"]),
        "etcd": st.fixed_dictionaries(
            {},
            optional={
                "client_port": st.integers(1, 30000),
                "peer_port": st.integers(30001, 65535),
                "quota": st.integers(1, 8192).map("{}MiB".format),
                "auto_compaction": st.sampled_from(["1h", "1000"]),
                "settings": st.fixed_dictionaries({"ETCD_HOST_WHITELIST": LINE}),
            },
        ),
        "install": st.sampled_from(INSTALLS),
        "pki": st.fixed_dictionaries({"layout": st.sampled_from(["lab", "separate"])}),
        "hosts": st.lists(
            st.fixed_dictionaries({"address": ADDRESSES, "names": st.just(["x.example"])})
        ),
        "clients": st.lists(NAMES, unique=True, max_size=2).map(
            lambda names: [{"name": f"c{name}", "common_name": f"é {name}"} for name in names]
        ),
        "extra_user_data": st.dictionaries(st.just("final_message"), TEXT),
    }
    rest = draw(st.fixed_dictionaries({}, optional=optional))
    return {"cluster": draw(NAMES), "members": members, **rest}


@few
@given(specs())
def test_each_member_is_once_in_every_initial_cluster(spec):
    """And every member is told the same."""
    cluster = make_cluster(yaml.safe_dump(spec))
    told = {cluster.settings(m, None)["ETCD_INITIAL_CLUSTER"] for m in cluster.members}
    [initial] = told
    pairs = [tuple(entry.split("=", 1)) for entry in initial.split(",")]
    assert pairs == [(member.name, member.peer_url) for member in cluster.members]
    assert len(dict(pairs)) == len(pairs) == len(spec["members"])


def hosts_in(pem: str) -> set[str]:
    """What the certificate itself says, not what it was meant to."""
    extensions = certificates_in(pem)[0].extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = map(str, names.get_values_for_type(x509.IPAddress))
    return {*names.get_values_for_type(x509.DNSName), *addresses}


@settings(few, max_examples=15)
@given(specs())
def test_every_advertised_host_is_in_its_certificate(spec):
    """Client URLs in the server's, peer URLs in the peer's; both are what callers verify."""
    cluster = make_cluster(yaml.safe_dump(spec))
    pki = issue_pki(cluster, stored=None, now=NOW).pki
    for member in cluster.members:
        said = cluster.settings(member, None)
        credentials = pki.members[member.name]
        for variable, credential in (
            ("ETCD_ADVERTISE_CLIENT_URLS", credentials.server),
            ("ETCD_LISTEN_CLIENT_URLS", credentials.server),
            ("ETCD_INITIAL_ADVERTISE_PEER_URLS", credentials.peer),
        ):
            hosts = {urlsplit(url).hostname for url in said[variable].split(",")}
            assert hosts <= hosts_in(credential.certificate_pem)


def as_written(value: Any, kind: Any = None) -> Any:
    """A model's values as an operator would write them; absent where they are the default."""
    if dataclasses.is_dataclass(value):
        written = {}
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            if item is not None:
                written[field.name] = as_written(item, field.metadata["kind"])
        return written
    if isinstance(value, dict):
        return {key: as_written(item) for key, item in value.items()}
    # Not the named tuple that a version is.
    if type(value) in (tuple, list):
        return [as_written(item) for item in value]
    if kind is SIZE:
        return f"{value}B"
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value if isinstance(value, str | int | bool) else str(value)


@few
@given(specs())
def test_spec_to_model_to_spec_is_identity(spec):
    """Written out again, with its defaults, in flow or in block style, it reads the same."""
    model, _ = parse_spec(yaml.safe_dump(spec), source="c.yaml")
    written = as_written(model)
    for flow in (True, False):
        text = yaml.safe_dump(written, default_flow_style=flow)
        again, _ = parse_spec(text, source="c.yaml")
        assert again == model
        assert as_written(again) == written


@few
@given(specs())
def test_the_order_of_members_changes_no_identity(spec):
    """IDs of members and cluster follow from who belongs to it, not from how it is listed."""
    cluster = make_cluster(yaml.safe_dump(spec))
    turned = replace(cluster.spec, members=tuple(reversed(cluster.spec.members)))
    other = Cluster(spec=turned, identity=cluster.identity)
    assert other.cluster_id == cluster.cluster_id
    assert {m.name: (m.member_id, m.instance_id) for m in other.members} == {
        m.name: (m.member_id, m.instance_id) for m in cluster.members
    }
