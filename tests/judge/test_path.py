"""imagegen.judge.path: a spec, an output directory or a seed, each judged as what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagegen.base.problems import ImagegenError
from imagegen.judge.path import check_path
from tests.conftest import EXAMPLES, NOW
from tests.judge.tree import SPEC, Tree
from tests.releases import install_section

CLEAN = {
    **{path.stem: path.read_text() for path in EXAMPLES.glob("*.yaml") if "own" not in path.stem},
    "lab": "cluster: c\nmembers: [{name: a, address: 10.0.0.1}]\npki: {layout: lab}\n",
    "netplan": SPEC.replace("prefix: 24", "prefix: 24, version: 2"),
    "static IPv6": "cluster: c\nnetwork: {prefix: 64}\n"
    'members: [{name: a, address: "fd00::1", mac: "52:54:00:00:00:01"}]\n',
    "by DHCP": SPEC.replace("prefix: 24", "dhcp: true"),
    "two networks": "cluster: c\nnetwork: {prefix: 24}\n"
    'members: [{name: a, address: 10.0.0.1, mac: "52:54:00:00:00:01", peer_address: 10.1.0.1,'
    ' nics: [{mac: "52:54:00:00:00:02", addresses: [10.1.0.1/24]}]}]\n',
}


@pytest.mark.parametrize("secrets", ["embed", "split", "external"])
@pytest.mark.parametrize("name", CLEAN)
def test_of_what_was_built_nothing_is_said(name: str, secrets: str, tmp_path: Path) -> None:
    """Every example, layout and way of keys: not even a warning, whole or by the piece."""
    Tree.built(tmp_path, CLEAN[name], secrets=secrets)
    seeds = list(tmp_path.glob("out/*/members/*/*.iso"))
    assert seeds
    for path in (tmp_path / "out", *(path for path in seeds if path.name == "seed.iso")):
        assert check_path(path, now=NOW) == []


@pytest.mark.parametrize(
    ("install", "said"),
    [
        ("", []),
        ("distribution: debian-13\n", [("note", "", "a distribution's 3.5.16")]),
        ("distribution: debian-12\n", [("note", "", "a distribution's 3.4.23")]),
        # A branch alone leaves open which fixes the members have.
        ("etcd: {version: '3.6'}\n", []),
        ("etcd: {version: 3.6.8}\n", [("note", "", "a distribution's 3.6.8")]),
        ("install: {packages: [etcd-server=3.5.30-1]}\n", [("note", "", "3.5.30")]),
        ("distribution: debian-13\ninstall: {mode: preinstalled}\n", [("note", "", "3.5.16")]),
        (install_section("3.6.14"), []),
        (install_section("3.6.13"), [("warning", "install.release.version", "3.6.14")]),
        (
            install_section("3.4.45"),
            [
                ("warning", "install.release.version", "3.5.33"),
                ("warning", "install.release.version", "no support"),
            ],
        ),
    ],
)
def test_what_upstream_has_fixed_since(install, said, tmp_path):
    """Of a release exactly, at its place; of a package, where to look it up."""
    path = tmp_path / "c.yaml"
    path.write_text(SPEC + install)
    problems = check_path(path, now=NOW)
    assert [(str(p.severity), p.where.removeprefix(f"{path}: ")) for p in problems] == [
        (severity, place) for severity, place, _ in said
    ]
    assert all(words in p.what for p, (_, _, words) in zip(problems, said, strict=True))


CLASHES = {
    "two files at one path": (
        "pki: {files: {server_key: k.pem, peer_key: k.pem}}\n",
        "pki.files.peer_key",
        "/etc/etcd/k.pem would be two files",
    ),
    "certificates hidden by the data disk": (
        "data_disk: {device: /dev/vdb}\npki: {directory: /var/lib/etcd/pki}\n",
        "pki.directory",
        "mounted at /var/lib/etcd, would hide /var/lib/etcd/pki/ca.pem",
    ),
    "a file of the operator's over one of imagegen's": (
        "extra_user_data: {write_files: [{path: /etc/hosts, content: x}]}\n",
        "extra_user_data.write_files[0]",
        "/etc/hosts would be two files",
    ),
}


@pytest.mark.parametrize("name", CLASHES)
def test_a_spec_that_puts_two_things_at_one_path(name: str, tmp_path: Path) -> None:
    """Neither is it good to check, nor is anything of it built."""
    text, where, what = CLASHES[name]
    path = tmp_path / "c.yaml"
    path.write_text(SPEC + text)
    [problem] = check_path(path, now=NOW)
    assert problem.where == f"{path}: {where}"
    assert what in problem.what
    with pytest.raises(ImagegenError) as caught:
        Tree.built(tmp_path, SPEC + text)
    assert caught.value.problems == (problem,)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "pki").exists()
