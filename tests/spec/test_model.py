"""imagegen.spec.model and imagegen.spec.fields: a spec is read whole, or every problem is named."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import dataclass

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from imagegen.base.problems import ImagegenError, ProblemsError, Severity
from imagegen.spec.model import Spec
from imagegen.spec.read import parse_spec
from imagegen.spec.reference import spec_schema
from imagegen.spec.starter import starter_spec
from tests.conftest import EXAMPLES
from tests.releases import install_section

PLAIN = """\
cluster: c
members:
  - {name: a, address: 10.0.0.1}
  - {name: b, address: 10.0.0.2}
  - {name: d, address: 10.0.0.3}
"""

STATIC = """\
cluster: c
members:
  - {name: a, address: 10.0.0.11, interface: ens3}
  - {name: b, address: 10.0.0.12, interface: ens3}
  - {name: d, address: 10.0.0.13, interface: ens3}
network: {prefix: 24, gateway: 10.0.0.1}
"""


SHA = "0123456789abcdef" * 4


def problems_of(text: str) -> list[str]:
    """Every problem's text, errors and warnings."""
    try:
        _, warnings = parse_spec(text, source="c.yaml")
    except ProblemsError as error:
        return [str(problem) for problem in error.problems]
    return [str(problem) for problem in warnings]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_are_good(path):
    """Each example parses without a warning and fits the schema editors use."""
    text = path.read_text()
    _, warnings = parse_spec(text, source=path.name)
    assert not warnings
    jsonschema.validate(yaml.safe_load(text), spec_schema())


def test_two_keys_are_enough():
    """A name and members with name and address make a cluster."""
    spec, warnings = parse_spec(PLAIN, source="c.yaml")
    assert [str(member.address) for member in spec.members] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert spec.pki.layout == "separate"
    assert not warnings


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


def test_the_schema_is_one():
    """It is valid JSON Schema, describes every setting, and knows no free keys."""
    schema = spec_schema()
    jsonschema.Draft202012Validator.check_schema(schema)

    def walk(node):
        if node.get("type") == "object" and "properties" in node:
            assert node["additionalProperties"] is False
            for name, child in node["properties"].items():
                assert child["description"].strip(), name
                walk(child)
        for key in ("items", "additionalProperties"):
            if isinstance(node.get(key), dict):
                walk(node[key])

    walk(schema)
    json.dumps(schema)


def test_all_problems_at_once_in_the_order_of_the_file():
    """A spec with many faults names each with line, column, value and a way out."""
    found = problems_of(
        """\
cluster: Bad_Name
clutser: x
members:
  - {name: a, address: 10.0.0.11, mac: 52:54:00:12:34:56}
  - {name: a, address: 10.0.0.11, mac: "52:54:00:00:00:01"}
  - {name: no, address: 10.0.0.999, mac: "52:54:00:00:00:01"}
network: {prefix: 24, gateway: 10.1.0.1}
"""
    )
    assert [problem.split(": ")[1] for problem in found] == [
        "c.yaml:1:10",
        "c.yaml:2:1",
        "c.yaml:4:40",
        "c.yaml:5:12",
        "c.yaml:5:24",
        "c.yaml:6:12",
        "c.yaml:6:25",
        "c.yaml:6:42",
        "c.yaml:7:32",
    ]
    assert all("\nhint: " in problem for problem in found)


@dataclass
class Fault:
    """A spec with one fault, and words its message must have."""

    text: str
    words: tuple[str, ...]
    severity: Severity = Severity.ERROR


FAULTS = {
    "unknown key": Fault(PLAIN + "distributoin: debian-12\n", ("did you mean distribution",)),
    "unknown key in a member": Fault(
        PLAIN.replace("address: 10.0.0.3", "adress: 10.0.0.3"),
        ("members[2].adress: unknown setting", "did you mean address"),
    ),
    "duplicate key": Fault(PLAIN + "cluster: d\n", ("c.yaml:6:1", "stands twice", "line 1")),
    "missing key": Fault("cluster: c\n", ("members is missing",)),
    "unquoted mac": Fault(
        STATIC.replace("interface: ens3}", "mac: 52:54:00:12:34:56}", 1),
        ("the number 41135085296", '"52:54:00:12:34:56"', "base 60"),
    ),
    "boolean for text": Fault(
        PLAIN.replace("name: b", "name: on"), ("members[1].name", "the boolean true", '"on"')
    ),
    "number for text": Fault(
        PLAIN + "etcd: {version: 3.5}\n", ("etcd.version", "the number 3.5", '"3.5"')
    ),
    "octal": Fault(
        PLAIN.replace("address: 10.0.0.1}", "address: 10.0.0.1, generation: 010}"),
        ("members[0].generation", "010", "the number 8", "octal"),
    ),
    "yes": Fault(PLAIN + "network: {dhcp: yes}\n", ("network.dhcp", "YAML 1.2", "write true")),
    "quoted number": Fault(
        STATIC.replace("prefix: 24", 'prefix: "24"'), ("network.prefix", "without quotes")
    ),
    "loopback": Fault(
        PLAIN.replace("10.0.0.2", "127.0.0.2"),
        ("members[1].address", "127.0.0.2 is a loopback address", "network of the members"),
        Severity.WARNING,
    ),
    "a file whose path is a list": Fault(
        PLAIN + "extra_user_data:\n  write_files:\n    - {path: /a}\n    - path: [[]]\n",
        ("c.yaml:9:7", "extra_user_data.write_files[1]", "a path that is text"),
    ),
    "a file that is none": Fault(
        PLAIN + "extra_user_data: {write_files: [/a]}\n",
        ("extra_user_data.write_files[0]", "must be a mapping"),
    ),
    "control characters": Fault(
        PLAIN + 'ssh_authorized_keys: ["ssh-ed25519 AAAA \\e[2Jme"]\n',
        ("ssh_authorized_keys[0]", "not an SSH public key"),
    ),
    "gigantic number": Fault(
        STATIC.replace("prefix: 24", "prefix: " + "9" * 5000), ("network.prefix",)
    ),
    "out of bounds": Fault(
        PLAIN + "etcd: {client_port: 70000}\n", ("etcd.client_port", "70000", "65535")
    ),
    "even count": Fault(
        PLAIN + "  - {name: e, address: 10.0.0.4}\n", ("4 members", "3 or 5"), Severity.WARNING
    ),
    "single member": Fault(
        "cluster: c\nmembers: [{name: a, address: 10.0.0.1}]\n", ("no failure",), Severity.WARNING
    ),
    "duplicate name": Fault(
        PLAIN.replace("name: d", "name: a"), ("members[2].name", "already used by members[0]")
    ),
    "duplicate address": Fault(
        PLAIN.replace("10.0.0.3", "10.0.0.1"), ("members[2].address", "10.0.0.1", "members[0]")
    ),
    "duplicate peer address": Fault(
        PLAIN.replace("10.0.0.3}", "10.0.0.3, peer_address: 10.0.0.1}"),
        ("members[2].peer_address", "members[0]"),
    ),
    "duplicate mac": Fault(
        STATIC.replace("interface: ens3", 'mac: "52:54:00:00:00:01"'), ("already used",)
    ),
    "mac differing in case only": Fault(
        STATIC.replace("interface: ens3", 'mac: "52:54:00:AA:00:01"', 1).replace(
            "interface: ens3", 'mac: "52:54:00:aa:00:01"', 1
        ),
        ("members[1].mac", "already used"),
    ),
    "multicast mac": Fault(
        STATIC.replace("interface: ens3", 'mac: "53:54:00:00:00:01"', 1), ("multicast",)
    ),
    "name with underscore": Fault(PLAIN.replace("name: d", "name: d_1"), ("not a host name",)),
    "name in capitals": Fault(PLAIN.replace("name: d", "name: D"), ("not a host name",)),
    "name with path": Fault(PLAIN.replace("name: d", "name: ../d"), ("not a host name",)),
    "address outside": Fault(
        STATIC.replace("10.0.0.13", "10.0.1.13"), ("members[2].address", "outside", "10.0.0.0/24")
    ),
    "network address": Fault(STATIC.replace("10.0.0.13", "10.0.0.0"), ("no host's",)),
    "gateway's address": Fault(STATIC.replace("10.0.0.13", "10.0.0.1"), ("is the gateway's",)),
    "gateway off link": Fault(
        STATIC.replace("gateway: 10.0.0.1", "gateway: 10.9.0.1"),
        ("network.gateway", "10.9.0.1", "10.0.0.0/24"),
    ),
    "static without card": Fault(
        STATIC.replace(", interface: ens3", "", 1), ("members[0]", "`mac`", "`interface`")
    ),
    "neither static nor dhcp": Fault(PLAIN + "network: {mtu: 1400}\n", ("prefix", "dhcp")),
    "dhcp with prefix": Fault(
        PLAIN + "network: {dhcp: true, prefix: 24}\n", ("network.prefix", "exclude")
    ),
    "route off link": Fault(
        STATIC.replace(
            "gateway: 10.0.0.1}", "gateway: 10.0.0.1, routes: [{to: 10.9.0.0/16, via: 10.8.0.1}]}"
        ),
        ("network.routes[0].via", "10.8.0.1"),
    ),
    "host bits in a route": Fault(
        STATIC.replace(
            "gateway: 10.0.0.1}", "gateway: 10.0.0.1, routes: [{to: 10.9.0.1/16, via: 10.0.0.1}]}"
        ),
        ("network.routes[0].to", "host bits"),
    ),
    "peer address nowhere": Fault(
        STATIC.replace("10.0.0.13,", "10.0.0.13, peer_address: 10.5.0.1,"),
        ("members[2].peer_address", "NIC"),
    ),
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
    "dots in a path": Fault(PLAIN + "etcd: {data_directory: /var/../etc}\n", ("'..'",)),
    "shared without consent": Fault(
        PLAIN + "pki: {layout: shared}\n", ("pki.layout", "allow_shared_key: true")
    ),
    "consent without shared": Fault(
        PLAIN + "pki: {allow_shared_key: true}\n", ("pki.allow_shared_key",)
    ),
    "reserved client": Fault(PLAIN + "clients: [{name: ca}]\n", ("clients[0].name",)),
    "client twice": Fault(PLAIN + "clients: [{name: x}, {name: x}]\n", ("clients[1].name",)),
    "time without offset": Fault(
        PLAIN + 'bootstrap_until: "2027-01-01T00:00:00"\n', ("bootstrap_until", "offset")
    ),
    "unquoted time": Fault(
        PLAIN + "bootstrap_until: 2027-01-01T00:00:00Z\n", ("bootstrap_until", "quote it")
    ),
    "bad token": Fault(PLAIN + 'token: "a b"\n', ("token",)),
    "list for text": Fault(PLAIN.replace("cluster: c", "cluster: [c]"), ("cluster", "a list")),
    "text for list": Fault("cluster: c\nmembers: a\n", ("members", "expected a list")),
    "scalar document": Fault("hello\n", ("mapping",)),
    "tab": Fault("cluster: c\nmembers:\n\t- a\n", ("c.yaml:3:1", "not YAML")),
    "empty": Fault("", ("empty",)),
    "two documents": Fault("cluster: c\n---\ncluster: d\n", ("not YAML",)),
    "etcd that corrupts data": Fault(
        PLAIN + 'etcd: {version: "3.5.1"}\n', ("etcd.version", "corrupt")
    ),
    "pinned etcd that corrupts data": Fault(
        PLAIN + 'install: {packages: ["etcd-server=3.5.2+ds-1"]}\n',
        ("install.packages[0]", "corrupts"),
    ),
    "key of ours in extra_user_data": Fault(
        PLAIN + "extra_user_data: {hostname: x}\n", ("extra_user_data.hostname", "ours")
    ),
    "network in extra_user_data": Fault(
        PLAIN + "extra_user_data: {network: {}}\n", ("extra_user_data.network", "cannot set up")
    ),
    "a distribution too old for packages points to release": Fault(
        PLAIN + "distribution: ubuntu-22.04\n", ("3.3", "mode: release")
    ),
    "a distribution too old for first boot": Fault(
        PLAIN + "distribution: debian-11\n", ("Python", "debian-12")
    ),
    "mode release without a release": Fault(
        PLAIN + "install: {mode: release}\n", ("install: mode release needs", "imagegen pin")
    ),
    "a release without digests": Fault(
        PLAIN + 'install: {mode: release, release: {version: "3.5.33"}}\n',
        ("install.release: sha256 is missing",),
    ),
    "a release for no architecture": Fault(
        PLAIN + 'install: {mode: release, release: {version: "3.5.33", sha256: {}}}\n',
        ("install.release.sha256", "no architecture"),
    ),
    "a digest cut short": Fault(
        PLAIN + 'install: {mode: release, release: {version: "3.5.33", sha256: {amd64: abc}}}\n',
        ("sha256.amd64", "64 hexadecimal digits"),
    ),
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
    "a setting the release does not know": Fault(
        PLAIN
        + f"""\
etcd: {{settings: {{ETCD_FEATURE_GATES: InitialCorruptCheck=true}}}}
install: {{mode: release, release: {{version: "3.5.33", sha256: {{amd64: {SHA}}}}}}}
""",
        ("ETCD_FEATURE_GATES",),
    ),
    "mode bundle without files": Fault(
        PLAIN + "install: {mode: bundle}\n", ("install: mode bundle needs", "imagegen pin")
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
    "a file in a bundle that says nothing": Fault(
        PLAIN + f"install: {{mode: bundle, bundle: [{{file: etcd.tgz, sha256: {SHA}}}]}}\n",
        ("install.bundle[0].file", "neither which release nor which package"),
    ),
    "packages in a bundle that fetches nothing": Fault(
        PLAIN
        + f"""\
install:
  mode: bundle
  extra_packages: [chrony]
  bundle: [{{file: etcd-v3.5.33-linux-amd64.tar.gz, sha256: {SHA}}}]
""",
        ("install.extra_packages: means nothing in mode bundle", "list the package's file"),
    ),
    "a release in mode package": Fault(
        PLAIN + f'install: {{release: {{version: "3.5.33", sha256: {{amd64: {SHA}}}}}}}\n',
        ("install.release: means nothing in mode package",),
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
    "extra_user_data against install.apt": Fault(
        PLAIN + "install: {apt: {proxy: 'http://p'}}\nextra_user_data: {apt: {}}\n",
        ("extra_user_data.apt", "install.apt"),
    ),
    "extra commands that are no list": Fault(
        PLAIN + "extra_user_data: {runcmd: reboot}\n", ("extra_user_data.runcmd", "list")
    ),
    "extra user twice": Fault(
        PLAIN + "users: [{name: me}]\nextra_user_data: {users: [default, {name: me}]}\n",
        ("extra_user_data.users[1]", "me"),
    ),
    "date in extra_user_data": Fault(
        PLAIN + "extra_user_data: {fqdn_since: 2026-01-01}\n", ("date 2026-01-01", "quote it")
    ),
    "base 60 in extra_user_data": Fault(
        PLAIN + "extra_user_data: {mac: 52:54:00}\n", ("extra_user_data.mac", "quote it")
    ),
    "key twice in extra_user_data": Fault(
        PLAIN + "extra_user_data: {ntp: {enabled: true, enabled: false}}\n", ("twice",)
    ),
    "private key in extra_user_data": Fault(
        PLAIN + "extra_user_data: {write_files: [{path: /k, content: '-----BEGIN PRIVATE "
        "KEY-----'}]}\n",
        ("extra_user_data.write_files", "private key"),
        Severity.WARNING,
    ),
    "unknown way for secrets": Fault(PLAIN + "secrets: vault\n", ("secrets", "external")),
    "brought member unknown": Fault(
        PLAIN + "pki: {layout: lab, imports: {ca_certificate: ca.pem, members: {z: {server: "
        "{certificate: c.pem, key: k.pem}}}}}\n",
        ("pki.imports.members.z", "no member"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name):
    """Each fault has a message of its own, with a place and a hint."""
    fault = FAULTS[name]
    found = problems_of(fault.text)
    matching = [p for p in found if all(word in p for word in fault.words)]
    assert matching, found
    assert matching[0].startswith(f"{fault.severity}: c.yaml")


def test_faults_do_not_hide_others():
    """A duplicate name is found although another member's address is unreadable."""
    found = problems_of(PLAIN.replace("10.0.0.1}", "nonsense}").replace("name: d", "name: b"))
    assert any("members[0].address" in problem for problem in found)
    assert any("members[2].name: b is already used" in problem for problem in found)


def test_alias_bomb_stops():
    """Aliases that expand without end are refused, quickly."""
    names = f"&names [{', '.join(['a.example'] * 1000)}]"
    member = f"&member {{name: a, address: 10.0.0.1, dns_names: {names}}}"
    text = f"cluster: c\nmembers: [{member}{', *member' * 500}]\n"
    assert any("aliases" in problem for problem in problems_of(text))


def test_deep_nesting_is_an_error():
    """Nesting beyond any sense is a message, not a crash."""
    assert problems_of("[" * 100_000)


def test_alias_is_fine():
    """An honest alias reads like what it stands for."""
    text = PLAIN.replace("10.0.0.1}", "10.0.0.1, dns_names: &names [x.example]}")
    spec, _ = parse_spec(text + "hosts: [{address: 10.0.0.9, names: *names}]\n", source="c.yaml")
    assert spec.hosts[0].names == ("x.example",)


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_is_a_spec_or_an_explained_error(text):
    """No text makes the reader fail in a way it does not explain."""
    try:
        spec, _ = parse_spec(text, source="c.yaml")
    except ImagegenError:
        return
    assert isinstance(spec, Spec)


@pytest.mark.parametrize("members", [1, 3, 5])
@pytest.mark.parametrize("first", ["10.240.0.11", "2001:db8::11"])
def test_starter_is_a_good_spec(members, first):
    """What init writes builds as it is."""
    text = starter_spec(cluster="mine", members=members, first_address=first)
    spec, warnings = parse_spec(text, source="cluster.yaml")
    assert len(spec.members) == members
    assert str(spec.members[0].address) == first
    assert all("survives no failure" in str(warning) for warning in warnings)


@pytest.mark.parametrize(
    ("cluster", "members", "first"),
    [("x", 5, "nonsense"), ("x", 5, "10.0.0.253"), ("x", 3, "10.0.0.1"), ("X Y", 3, "10.0.0.11"),
     ("x", 3, "255.255.255.254")],
)  # fmt: skip
def test_starter_refuses(cluster, members, first):
    """Arguments that make no cluster are explained."""
    with pytest.raises(ImagegenError):
        starter_spec(cluster=cluster, members=members, first_address=first)


# --- found by fuzzing (tests/fuzz) -----------------------------------------------------


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
    "scalar", ["!!int ''", "!!int x", "!!float ''", "!!bool x", "!!timestamp x"]
)
def test_a_tag_that_does_not_fit_its_text_is_an_error(scalar):
    """PyYAML raises IndexError, KeyError and AttributeError for them."""
    assert any("token" in problem for problem in problems_of(PLAIN + f"token: {scalar}\n"))
    found = problems_of(PLAIN + f"extra_user_data: {{timezone: {scalar}}}\n")
    assert any("extra_user_data.timezone" in problem for problem in found)


def test_an_alias_of_itself_is_an_error():
    """It has no end, and ended in a RecursionError."""
    found = problems_of(PLAIN + "extra_user_data: {a: &a [x, *a]}\n")
    assert any("extra_user_data.a" in problem and "alias of itself" in problem for problem in found)


def test_an_alias_bomb_costs_little_memory():
    """Ten aliases of ten aliases, and so on; it once took 145 MB."""
    levels = ["x0: &x0 [a, a, a, a, a, a, a, a, a, a]"]
    levels += [f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]" for i in range(1, 12)]
    tracemalloc.start()
    try:
        found = problems_of(PLAIN + f"extra_user_data: {{{', '.join(levels)}}}\n")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert any("aliases" in problem for problem in found)
    assert most < 48 * 1024 * 1024


@pytest.mark.parametrize("number", ["0x" + "f" * 5000, "9" * 5000, str(2**64), ".nan", "-.inf"])
def test_a_number_that_others_cannot_read_is_an_error(number):
    """Python itself refuses to print the first two, and JSON has no word for the last two."""
    found = problems_of(PLAIN + f"extra_user_data: {{power_state: {{timeout: {number}}}}}\n")
    assert any("extra_user_data.power_state.timeout" in problem for problem in found)


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_time_that_utc_has_no_year_for_is_an_error(time):
    """It is a time where it was written, but not here."""
    found = problems_of(PLAIN + f'bootstrap_until: "{time}"\n')
    assert any("bootstrap_until" in problem for problem in found)


def test_a_user_whose_name_is_no_text_is_not_compared():
    """That is cloud-init's to judge, as all of extra_user_data."""
    users = "users: [{name: us}]\nextra_user_data: {users: [{name: [us]}, [us], {name: us}]}\n"
    found = problems_of(PLAIN + users)
    assert [problem for problem in found if "users[2]: us is in `users` already" in problem]
    assert len(found) == 1
