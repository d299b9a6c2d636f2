"""imagegen.judge.seed.user_data: what cloud-init takes user-data for."""

from __future__ import annotations

import base64
import gzip
from datetime import timedelta
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest

from tests.conftest import NOW
from tests.judge.seed.seeds import (
    CLEAN,
    KEY,
    SECRET,
    assert_error,
    assert_warning,
    cloud_config,
    inspect,
    make_certificate,
)


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
