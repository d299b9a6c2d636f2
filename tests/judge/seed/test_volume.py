"""imagegen.judge.seed.volume: seeds of imagegen's own and of other tools."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from imagegen.judge.seed.inspect import inspect_seed
from imagegen.judge.seed.report import Report
from imagegen.media.iso9660 import SeedError
from tests.conftest import NOW, require_program
from tests.judge.seed.seeds import (
    CLEAN,
    META_DATA,
    NETWORK,
    assert_error,
    inspect,
)


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
