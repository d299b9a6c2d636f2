"""imagegen.judge.seed.write_files: what cloud-init would write, and what would stop it."""

from __future__ import annotations

import pytest

from imagegen.judge.seed.report import Report
from tests.judge.seed.seeds import (
    KEY,
    assert_warning,
    cloud_config,
    inspect,
)


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
