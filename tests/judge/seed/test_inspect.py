"""imagegen.judge.seed.inspect: a report that anyone may read, and hostile seeds."""

from __future__ import annotations

import base64
import gzip
import json
import time
from datetime import datetime

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from imagegen.base.problems import ImagegenError
from imagegen.judge.seed.inspect import inspect_seed
from imagegen.media.nocloud import build_seed
from tests.conftest import NOW
from tests.judge.seed.seeds import (
    CLEAN,
    KEY,
    META_DATA,
    SECRET,
    cloud_config,
    inspect,
    make_certificate,
)


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
