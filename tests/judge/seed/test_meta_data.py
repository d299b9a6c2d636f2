"""imagegen.judge.seed.meta_data: who the machine is told to be."""

from __future__ import annotations

import pytest

from tests.judge.seed.seeds import (
    assert_warning,
    inspect,
)


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
