"""Seeds of our own and of other tools, judged as cloud-init would judge them."""

from __future__ import annotations

import base64
import gzip
import json
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from ipaddress import ip_address
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from imagegen.base.problems import ImagegenError, Problem, Severity
from imagegen.judge.seed.inspect import inspect_seed
from imagegen.judge.seed.report import Report
from imagegen.media.iso_reader import SeedError
from imagegen.media.nocloud import build_seed
from tests.conftest import NOW, require_program

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


def cloud_localds(image: Path, directory: Path) -> None:
    options: list[str | Path] = []
    if (directory / "network-config").exists():
        options = ["--network-config", directory / "network-config"]
    subprocess.run(
        [require_program("cloud-localds"), *options, image, "user-data", "meta-data"],
        cwd=directory, check=True, capture_output=True,
    )  # fmt: skip


def genisoimage(image: Path, directory: Path, *options: str) -> None:
    options = options or ("-V", "cidata", "-R", "-J")
    subprocess.run(
        [require_program("genisoimage"), "-quiet", "-o", image, *options, directory], check=True
    )


def xorriso(image: Path, directory: Path, *options: str) -> None:
    options = options or ("-V", "cidata", "-R", "-J")
    subprocess.run(
        [require_program("xorriso"), "-as", "mkisofs", "-o", image, *options, directory],
        check=True, capture_output=True,
    )  # fmt: skip


OTHERS = pytest.mark.parametrize("make", [cloud_localds, genisoimage, xorriso])


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Report]:
    """Make a seed with another program and inspect it."""

    def made(
        make: Callable[..., None], *options: str, files: Mapping[str, bytes | None] = {}
    ) -> Report:
        directory = tmp_path / "in"
        directory.mkdir()
        for name, content in {"user-data": CLEAN, "meta-data": META_DATA, **files}.items():
            if content is not None:
                (directory / name).write_bytes(content)
        make(tmp_path / "seed.iso", directory, *options)
        return inspect_seed((tmp_path / "seed.iso").read_bytes(), source="seed.iso")

    return made


class TestVolume:
    @OTHERS
    def test_nothing_to_say_about_a_clean_seed(
        self, made: Callable[..., Report], make: Callable[..., None]
    ) -> None:
        report = made(make, files={"network-config": NETWORK})
        assert report.problems == ()
        assert report.accepted
        assert (report.label, report.rock_ridge, report.joliet) == ("cidata", True, True)
        assert (report.instance_id, report.local_hostname) == ("i-1", "etcd-1")

    def test_nor_about_ours(self) -> None:
        report = inspect(network_config=NETWORK)
        assert report.problems == ()
        assert report.created == NOW
        assert {(file.name, file.kind) for file in report.files} == {
            ("user-data", "cloud-config"),
            ("meta-data", "YAML"),
            ("network-config", "YAML"),
        }

    @pytest.mark.parametrize("make", [genisoimage, xorriso])
    @pytest.mark.parametrize("label", ["CiData", "config-2", "seed"])
    def test_another_label(
        self, made: Callable[..., Report], make: Callable[..., None], label: str
    ) -> None:
        assert_error(made(make, "-V", label, "-R", "-J"), f"label is {label}")

    @pytest.mark.parametrize("make", [genisoimage, xorriso])
    @pytest.mark.parametrize("extension", ["-R", "-J"])
    def test_one_extension_is_enough(
        self, made: Callable[..., Report], make: Callable[..., None], extension: str
    ) -> None:
        assert made(make, "-V", "CIDATA", extension).problems == ()

    def test_names_cut_to_8_3(self, made: Callable[..., Report]) -> None:
        found = made(genisoimage, "-V", "cidata").problems
        assert [problem.severity for problem in found] == ["error", "error", "warning"]
        assert "user-data is missing; user_dat is not" in found[0].what
        assert "meta-data is missing; meta_dat is not" in found[1].what
        assert "neither Rock Ridge nor Joliet" in found[2].what

    @pytest.mark.parametrize("name", ["USER-DATA", "user-data.txt", "user_data", "userdata"])
    def test_almost_the_right_name(self, made: Callable[..., Report], name: str) -> None:
        report = made(xorriso, files={"user-data": None, name: CLEAN})
        assert_error(report, f"user-data is missing; {name} is not")

    @pytest.mark.parametrize("name", ["user-data", "meta-data"])
    def test_a_required_file_is_missing(self, made: Callable[..., Report], name: str) -> None:
        problems = made(genisoimage, files={name: None}).problems
        assert [problem.what for problem in problems] == [
            f"{name} is missing: cloud-init skips a seed without it"
        ]

    def test_what_is_no_iso_raises(self) -> None:
        with pytest.raises(SeedError, match="gzip") as caught:
            inspect_seed(gzip.compress(CLEAN), source="seed.gz")
        assert caught.value.problems[0].where == "seed.gz"


class TestMetaData:
    @pytest.mark.parametrize("content", [b"", b"\n", b"local-hostname: a\n", b"instance-id:\n"])
    def test_without_an_instance_id(self, content: bytes) -> None:
        assert_warning(inspect(meta_data=content), "takes nocloud", "seed.iso/meta-data")

    def test_json_is_yaml(self) -> None:
        assert inspect(meta_data=b'{"instance-id": "i-1"}').problems == ()

    @pytest.mark.parametrize(
        ("content", "what", "where"),
        [
            (b"instance-id: a\n\tb: c\n", "not valid YAML", ":2:1"),
            (b"instance-id: !!int ''\n", "not valid YAML", ""),
            (b"- instance-id\n", "not a mapping", ":1:1"),
            (b"instance-id: \xff\n", "not UTF-8", ""),
        ],
    )
    def test_unreadable(self, content: bytes, what: str, where: str) -> None:
        report = inspect(meta_data=content)
        assert not report.accepted
        assert what in report.problems[0].what
        assert report.problems[0].where == f"seed.iso/meta-data{where}"


class TestNetworkConfig:
    @pytest.mark.parametrize(
        "content",
        [
            NETWORK,
            b"",
            b"network:\n" + re.sub(b"^", b"  ", NETWORK, flags=re.MULTILINE).rstrip(b" "),
            b"version: 2\nethernets: {eth0: {dhcp4: true}}\n",
            b"network: {version: '2', ethernets: {}}\n",
            b"network: {config: disabled}\n",
        ],
    )
    def test_sound(self, content: bytes) -> None:
        assert inspect(network_config=content).problems == ()

    @pytest.mark.parametrize(
        ("content", "what", "where"),
        [
            (b"ethernets: {}\n", "neither version 1 nor", ":1:1"),
            (b"network:\n  version: 3\n", "neither version 1 nor", ":2:12"),
            (b"network: eth0\n", "neither version 1 nor", ":1:10"),
            (b"version: 1\n", "list called config", ":1:1"),
            (b"version: 1\nconfig:\n- name: eth0\n", "no type", ":3:3"),
            (b"version: 1\nconfig:\n- type: wifi\n", "no type", ":3:9"),
            (b"version: 2\nethernets: [eth0]\n", "not a mapping", ":2:12"),
            (NETWORK.replace(b'"', b""), "MAC address reads as a number", ":5:16"),
            (
                b"version: 2\nethernets:\n  eth0:\n    match: {macaddress: 52:54:00:12:34:56}\n",
                "MAC address reads as a number",
                ":4:25",
            ),
            (b"a: b: c\n", "not valid YAML", ":1:5"),
        ],
    )
    def test_configures_nothing(self, content: bytes, what: str, where: str) -> None:
        assert_error(inspect(network_config=content), what, f"seed.iso/network-config{where}")

    @pytest.mark.parametrize(
        ("device", "what", "where"),
        [
            ("routes: [{to: default, via: 10.0.0.1}]", "route to default", ":4:19"),
            ("gateway4: 10.0.0.1", "deprecated gateway4", ":4:15"),
        ],
    )
    def test_depends_on_the_image(self, device: str, what: str, where: str) -> None:
        content = f"version: 2\nethernets:\n  eth0:\n    {device}\n".encode()
        assert_warning(inspect(network_config=content), what, f"seed.iso/network-config{where}")


class TestHeader:
    """What the first bytes make of user-data."""

    @pytest.mark.parametrize(
        ("content", "kind"),
        [
            (CLEAN, "cloud-config"),
            (b"\n\n  \n" + CLEAN, "cloud-config"),
            (b"#Cloud-Config and more\n{}\n", "cloud-config"),
            (gzip.compress(CLEAN, mtime=0), "cloud-config"),
            (b"#!/bin/sh\ntrue\n", "script"),
            (b"#include\nhttp://10.0.0.1/\n", "include"),
            (b"#include-once\nhttp://10.0.0.1/\n", "include"),
            (b"#cloud-boothook\n", "boot hook"),
            (b"#cloud-config-archive\n- {}\n", "cloud-config archive"),
            (b"#part-handler\n", "part handler"),
        ],
    )
    def test_understood(self, content: bytes, kind: str) -> None:
        report = inspect(content)
        assert report.problems == ()
        assert {file.name: file.kind for file in report.files}["user-data"] == kind

    def test_line_ends_of_other_systems(self) -> None:
        """cloud-init reads them; still, somebody's editor has been at it."""
        report = inspect(CLEAN.replace(b"\n", b"\r\n"))
        assert_warning(report, "end in CR LF", "seed.iso/user-data")
        assert report.files[-1].kind == "cloud-config"

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (b"hostname: etcd-1\n", "no header"),
            (b"# cloud-config\n", "a space within the header"),
            (b"# made by me\n#cloud-config\n", "a comment comes before"),
            (b"---\n#cloud-config\n", "--- comes before"),
            (b"\xef\xbb\xbf#cloud-config\n", "byte order mark"),
            (CLEAN.decode().encode("utf-16"), "UTF-16"),
            (gzip.compress(gzip.compress(CLEAN, mtime=0), mtime=0), "compressed twice"),
            (gzip.compress(CLEAN, mtime=0)[:-5], "compressed twice, or damaged"),
            (base64.b64encode(CLEAN), "base64"),
            (base64.encodebytes(gzip.compress(CLEAN, mtime=0)), "base64"),
            (b"##template:jinja\n#cloud-config\n", "misspelt header"),
            (b"#!/bin/sh\necho \xff\n", "not UTF-8"),
        ],
    )
    def test_ignored(self, content: bytes, what: str) -> None:
        assert_error(inspect(content), what, "seed.iso/user-data")

    def test_empty_is_allowed_but_odd(self) -> None:
        assert_warning(inspect(b""), "empty", "seed.iso/user-data")

    def test_empty_vendor_data_is_not(self) -> None:
        assert inspect(vendor_data=b"").problems == ()

    def test_vendor_data_needs_a_header_too(self) -> None:
        assert_error(inspect(vendor_data=b"a: b\n"), "no header", "seed.iso/vendor-data")

    def test_a_jinja_template_is_rendered_whole(self) -> None:
        report = inspect(b"## template: jinja\n#cloud-config\nhostname: {{ v1.x }}\n")
        assert_warning(report, "renders every")

    def test_a_template_without_braces_is_read_on(self) -> None:
        report = inspect(b"## template: jinja\n#cloud-config\nhostname: etcd-1\n")
        assert report.user_data is not None
        assert report.user_data.hostname == "etcd-1"


class TestParts:
    @staticmethod
    def multi_part(*parts: tuple[str, str], **headers: str) -> bytes:
        message = MIMEMultipart()
        for text, subtype in parts:
            part = MIMEText(text, subtype)
            for name, value in headers.items():
                part[name.replace("_", "-")] = value
            message.attach(part)
        return message.as_bytes()

    def test_all_parts_are_read(self) -> None:
        report = inspect(
            self.multi_part(
                ("#cloud-config\npackages: [etcd-server]\n", "cloud-config"),
                ("hostname: etcd-1\n", "cloud-config"),  # the type says it; no header is needed
                ("#!/bin/sh\n", "x-shellscript"),
                ("#cloud-config\nruncmd: [a, b]\n", "plain"),
            )
        )
        assert report.problems == ()
        assert report.user_data is not None
        assert report.user_data.packages == ("etcd-server",)
        assert report.user_data.hostname == "etcd-1"
        assert report.user_data.commands == 2

    def test_a_faulty_part_is_named(self) -> None:
        content = self.multi_part(("#!/bin/sh\n", "x-shellscript"), ("hostname: a\n", "plain"))
        assert_error(inspect(content), "no header", "seed.iso/user-data[2]")

    def test_a_later_part_replaces_an_earlier_ones_list(self) -> None:
        parts = [(f"#cloud-config\nruncmd: [{name}]\n", "cloud-config") for name in "ab"]
        report = inspect(self.multi_part(*parts))
        assert_warning(report, "an earlier part has this key", "seed.iso/user-data[2]:2:9")
        assert report.user_data is not None
        assert report.user_data.commands == 1

    def test_unless_it_says_how_to_merge(self) -> None:
        parts = [(f"#cloud-config\nruncmd: [{name}]\n", "cloud-config") for name in "ab"]
        report = inspect(self.multi_part(*parts, Merge_Type="list(append)+dict(recurse_array)"))
        assert report.problems == ()
        assert report.user_data is not None
        assert report.user_data.commands == 2


class TestCloudConfig:
    @pytest.mark.parametrize(
        ("body", "what", "where"),
        [
            ("a: b: c\n", "not valid YAML", ":2:5"),
            ("a:\n\t- b\n", "not valid YAML", ":3:1"),
            ("a: {{ b }}\n", "not valid YAML", ""),
            ("- a\n", "not a mapping", ":2:1"),
            ("just text\n", "not a mapping", ":2:1"),
        ],
    )
    def test_unreadable(self, body: str, what: str, where: str) -> None:
        report = inspect(b"#cloud-config\n" + body.encode())
        assert_error(report, what, f"seed.iso/user-data{where}")

    @pytest.mark.parametrize(
        ("body", "what", "where"),
        [
            ("runcmd: [a]\npackages: [b]\nruncmd: [c]\n", "the same key as on line 2", ":4:1"),
            ("a: {b: 1, c: 2, b: 3}\n", "the same key as on line 2", ":2:17"),
            ("network: {version: 2}\n", "in user-data is ignored", ":2:10"),
            ("runcmd:\n- echo a: b\n", r"runcmd\[0\]: neither text nor a list", ":3:3"),
        ],
    )
    def test_accepted_but_not_meant(self, body: str, what: str, where: str) -> None:
        report = inspect(b"#cloud-config\n" + body.encode())
        assert_warning(report, what, f"seed.iso/user-data{where}")

    def test_the_summary(self) -> None:
        report = inspect(
            cloud_config(
                hostname="etcd-1",
                packages=["etcd-server", ["etcd-client", "3.5.16"]],
                users=["default", {"name": "operator", "passwd": SECRET}],
                runcmd=["true", ["echo", SECRET]],
                write_files=[
                    {"path": "/etc/default/etcd", "content": "höst", "permissions": "0640"},
                    {
                        "path": "/etc/etcd/server.crt",
                        "content": make_certificate().decode(),
                        "owner": "etcd:etcd",
                        "defer": True,
                    },
                    {
                        "path": "/etc/etcd/server.key",
                        "content": base64.b64encode(gzip.compress(KEY.encode())).decode(),
                        "encoding": "gz+b64",
                        "permissions": "0600",
                    },
                    {"path": "/root/peer.key", "content": KEY, "permissions": "0600"},
                ],
            )
        )
        assert report.problems == ()
        found = report.user_data
        assert found is not None
        assert (found.hostname, found.commands, found.private_keys) == ("etcd-1", 2, 2)
        assert found.packages == ("etcd-server", "etcd-client")
        assert found.users == ("default", "operator")
        assert [(file.path, file.mode, file.owner, file.private_keys) for file in found.files] == [
            ("/etc/default/etcd", "0640", "root:root", 0),
            ("/etc/etcd/server.crt", "0644", "etcd:etcd", 0),
            ("/etc/etcd/server.key", "0600", "root:root", 1),
            ("/root/peer.key", "0600", "root:root", 1),
        ]
        assert [file.size for file in found.files][::2] == [len("höst".encode()), len(KEY)]
        (certificate,) = found.files[1].certificates
        assert certificate.subject == "CN=etcd-1"
        assert certificate.sans == ("etcd-1.lab", "10.0.0.11")
        assert certificate.not_after == NOW + timedelta(days=30)


class TestWriteFiles:
    @pytest.mark.parametrize(
        ("entry", "mode"),
        [
            ("permissions: '0600'", "0600"),
            ("permissions: '600'", "0600"),
            ("permissions: 0600", "0600"),
            ("permissions: 0o600", "0600"),
            ("{}", "0644"),
        ],
    )
    def test_modes_as_meant(self, entry: str, mode: str) -> None:
        report = self.inspect_entry(entry)
        assert report.problems == ()
        assert report.user_data is not None
        assert report.user_data.files[0].mode == mode

    @pytest.mark.parametrize(
        ("entry", "what", "mode"),
        [
            ("permissions: 600", "600 without quotes is a decimal number, mode 1130", "1130"),
            ("permissions: 644", "decimal number, mode 1204", "1204"),
            ("permissions: u=rw", "no octal mode", "0644"),
            ("permissions: '0888'", "no octal mode", "0644"),
            ("permissions: .inf", "no octal mode", "0644"),
        ],
    )
    def test_modes_not_as_meant(self, entry: str, what: str, mode: str) -> None:
        report = self.inspect_entry(entry)
        assert_warning(report, rf"write_files\[0\].permissions: .*{what}", "seed.iso/user-data:5")
        assert report.user_data is not None
        assert report.user_data.files[0].mode == mode

    @pytest.mark.parametrize("permissions", [{}, {"permissions": "0644"}])
    def test_a_private_key_for_everyone(self, permissions: dict[str, str]) -> None:
        entry = {"path": "/k", "content": KEY, **permissions}
        assert_warning(inspect(cloud_config(write_files=[entry])), "everyone could read")

    @pytest.mark.parametrize("owner", ["root", "root:adm", "www-data:www-data"])
    def test_owners_every_image_has(self, owner: str) -> None:
        assert self.inspect_entry(f"owner: '{owner}'").problems == ()

    @pytest.mark.parametrize(
        ("owner", "what"),
        [("0:0", "names only"), ("root:0", "names only"), ("etcd:etcd", "etcd may not exist yet")],
    )
    def test_owners_that_stop_it(self, owner: str, what: str) -> None:
        assert_warning(self.inspect_entry(f"owner: '{owner}'"), what, "seed.iso/user-data:5:10")

    def test_deferred_files_may_belong_to_anyone(self) -> None:
        assert self.inspect_entry("owner: etcd:etcd\n  defer: true").problems == ()

    @pytest.mark.parametrize(
        ("entry", "what"),
        [
            ("encoding: base32", "unknown"),
            ("encoding: b64\n  content: a", "not base64"),
            ("encoding: gzip\n  content: a", "not gzip"),
            ("path: etc/passwd", "not an absolute path"),
            ("content: |\n    -----BEGIN CERTIFICATE-----\n    AAAA\n    -----END CERTIFICATE-----",
             "cannot be read"),
        ],
    )  # fmt: skip
    def test_other_faults(self, entry: str, what: str) -> None:
        path = "" if entry.startswith("path") else "path: /x\n  "
        content = f"#cloud-config\nwrite_files:\n- {path}{entry}\n"
        assert_warning(inspect(content.encode()), what)

    def test_an_entry_without_a_path(self) -> None:
        assert_warning(inspect(cloud_config(write_files=[{"content": "a"}])), "no path")

    @staticmethod
    def inspect_entry(entry: str) -> Report:
        content = f"#cloud-config\nwrite_files:\n- path: /x\n  content: a\n  {entry}\n"
        return inspect(content.replace("  {}\n", "").encode())


class TestSecrets:
    """Whatever is wrong with a seed, its report can be shown to anyone."""

    @pytest.mark.parametrize(
        "user_data",
        [
            cloud_config(write_files=[{"path": "/k", "content": KEY}], chpasswd={"x": SECRET}),
            b"#cloud-config\nwrite_files:\n- content: |\n    -----BEGIN PRIVATE KEY-----\n  "
            + SECRET.encode() + b": x\n",
            b"#cloud-config\na: *" + SECRET.encode() + b"\n",
            b"#cloud-config\na: !" + SECRET.encode() + b" b\n",
            b"#cloud-config\n- " + SECRET.encode() + b"\n",
            b"#cloud-config\n{%s: 1, %s: 2}\n" % (SECRET.encode(), SECRET.encode()),
            b"#cloud-config\nruncmd: [{%s: a}]\n" % SECRET.encode(),
            b"#cloud-config\nwrite_files: [{path: /x, permissions: %s}]\n" % SECRET.encode(),
            b"#cloud-config\nwrite_files: [{path: /x, encoding: %s}]\n" % SECRET.encode(),
            b"#!/bin/sh\n" + KEY.encode(),
            b"no header\n" + KEY.encode(),
            base64.b64encode(KEY.encode()),
            gzip.compress(KEY.encode(), mtime=0),
        ],
    )  # fmt: skip
    def test_stay_inside(self, user_data: bytes) -> None:
        report = inspect(user_data, meta_data=f"{SECRET}: [{SECRET}".encode())
        assert SECRET not in repr(report)
        assert SECRET not in json.dumps(report.to_json())
        assert SECRET not in "\n".join(report.lines())


class TestReport:
    def test_is_json(self) -> None:
        report = inspect(
            cloud_config(write_files=[{"path": "/c", "content": make_certificate().decode()}])
        )
        values = json.loads(json.dumps(report.to_json()))
        assert values["accepted"] is True
        assert datetime.fromisoformat(values["created"]) == NOW
        written = values["user_data"]["files"][0]
        assert datetime.fromisoformat(written["certificates"][0]["not_after"]) > NOW

    def test_lines_tell_all_of_it(self) -> None:
        report = inspect(cloud_config(hostname="etcd-1", write_files=[{"path": "/c"}]), b"")
        text = "\n".join(report.lines())
        for part in ("cloud-init would accept", "etcd-1", "/c", "warning: ", "hint: "):
            assert part in text

    def test_control_characters_never_reach_a_terminal(self) -> None:
        report = inspect(cloud_config(hostname="\x1b[2Jetcd-1\n", packages=["\x07" * 1000]))
        assert all(line.isprintable() for line in report.lines())


H = b"#cloud-config\n"
LEVELS = range(1, 60)
BOMB = base64.b64encode(gzip.compress(bytes(10_000_000), 9, mtime=0))


@pytest.mark.parametrize(
    "user_data",
    [
        pytest.param(H + b"[" * 1_000_000, id="nested"),
        pytest.param(H + b"- " * 400_000, id="nested blocks"),
        pytest.param(H + b"a: [" + b"[]," * 300_000 + b"]", id="many values"),
        pytest.param(
            H + b"a0: &a0 [x]\n"
            + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (i, i, i - 1, i - 1) for i in LEVELS),
            id="aliases of aliases",
        ),
        pytest.param(
            H + b"a0: &a0 {x: y}\n"
            + b"".join(b"a%d: &a%d {<<: [*a%d, *a%d]}\n" % (i, i, i - 1, i - 1) for i in LEVELS),
            id="merges of merges",
        ),
        pytest.param(H + b"a: &a {<<: *a}\nb: &b [*b]\nwrite_files: *b\n", id="recursive"),
        pytest.param(H + b"a: 1" + b":59" * 300_000, id="base 60"),
        pytest.param(H + b"a: 0x" + b"f" * 300_000, id="large number"),
        pytest.param(gzip.compress(bytes(60_000_000)), id="gzip bomb"),
        pytest.param(
            H + b"b: &b {path: /x, encoding: gz+b64, content: " + BOMB + b"}\n"
            b"write_files: [" + b"*b," * 100 + b"]\n",
            id="gzip bombs in write_files",
        ),
        pytest.param(
            b"MIME-Version: 1.0\n"
            + b"".join(
                b"Content-Type: multipart/mixed; boundary=B%d\n\n--B%d\n" % (i, i)
                for i in range(3000)
            ),
            id="nested parts",
        ),
        pytest.param(
            H + b"runcmd: {a: b}\nusers: 1\npackages: {a: [b]}\nhostname: []\n",
            id="types",
        ),
        pytest.param(
            H + b"write_files: [1, null, {path: []}, {path: /x, owner: [a], encoding: {},"
            b" content: [1], defer: {}, permissions: [0x7ffffffffffffffff]}]\n",
            id="types in write_files",
        ),
    ],
)  # fmt: skip
def test_hostile_documents_end_soon(user_data: bytes) -> None:
    start = time.perf_counter()
    report = inspect(user_data)
    report.to_json()
    report.lines()
    assert time.perf_counter() - start < 10


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from((b"#cloud-config\n", b"#!", b"MIME-Version: 1.0\n", b"\x1f\x8b", b"")),
    st.binary(max_size=200) | st.text(max_size=200).map(str.encode),
    st.binary(max_size=50),
)
def test_any_document(header: bytes, user_data: bytes, other: bytes) -> None:
    """Inspecting never raises, whatever the documents."""
    report = inspect(header + user_data, meta_data=other, network_config=other)
    json.dumps(report.to_json())
    report.lines()


YAML_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ("path", "content", "owner", "type", "match", "routes", "to", "name", "a")
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(("write_files", "runcmd", "packages", "users", "hostname", "network")),
        YAML_VALUES,
    ),
    st.dictionaries(
        st.sampled_from(("version", "config", "ethernets", "network", "instance-id")),
        YAML_VALUES | st.sampled_from((1, 2)),
    ),
)
def test_any_types(user_data: dict[str, object], other: dict[str, object]) -> None:
    """Keys cloud-init knows, with values it does not expect."""
    content = yaml.safe_dump(other).encode()
    report = inspect(cloud_config(**user_data), meta_data=content, network_config=content)
    json.dumps(report.to_json())
    report.lines()


def test_damaged_images_raise_only_our_errors() -> None:
    image = bytearray(build_seed({"user-data": CLEAN, "meta-data": META_DATA}, when=NOW))
    for position in range(32768, len(image), 61):
        damaged = bytearray(image)
        damaged[position] ^= 0xFF
        try:
            inspect_seed(bytes(damaged), source="seed.iso").lines()
        except ImagegenError as error:
            assert str(error)  # noqa: PT017
