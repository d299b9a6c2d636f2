"""Wheel, sdist and editable installs: each has the program and finds its templates."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from imagegen.documents.templates import NAMES
from tests.conftest import EXAMPLES, ROOT


def run(*arguments: object, cwd: Path, path: Path | None = None) -> str:
    environment = {**os.environ, "PYTHONPATH": str(path) if path else ""}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def copy_checkout(checkout: Path) -> None:
    """The checkout without what was built in it; packages may be called like such a folder."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        built = {"out", "pki", "dist"} if Path(folder) == ROOT else set()
        return {name for name in names if name.startswith(".") or name in built}

    shutil.copytree(ROOT, checkout, ignore=left_out)


@pytest.fixture(scope="module")
def wheel_of_the_sdist(tmp_path_factory) -> Path:
    """A wheel built from nothing but the sdist, as an index's users get it."""
    work = tmp_path_factory.mktemp("build")
    checkout = work / "checkout"
    copy_checkout(checkout)
    shutil.copy(ROOT / ".gitignore", checkout)
    build = "import sys, hatchling.build as b; print(getattr(b, sys.argv[1])(sys.argv[2]))"
    sdist = run("-c", build, "build_sdist", work, cwd=checkout).split()[-1]
    # Not shutil's: Debian 12's Python 3.11.2 has no extraction filters.
    (work / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", work / sdist, "-C", work / "unpacked"], check=True)
    [source] = (work / "unpacked").iterdir()
    wheel = run("-c", build, "build_wheel", work, cwd=source).split()[-1]
    return work / wheel


def test_a_wheel_from_a_checkout_has_no_key_of_a_build(tmp_path):
    """What a Packer build leaves in its folder stays there."""
    checkout = tmp_path / "checkout"
    copy_checkout(checkout)
    shutil.copy(ROOT / ".gitignore", checkout)
    (checkout / "packer/qemu/seed").mkdir()
    (checkout / "packer/qemu/seed/id_ed25519").write_text("a key\n")
    build = "import sys, hatchling.build as b; print(b.build_wheel(sys.argv[1]))"
    wheel = run("-c", build, tmp_path, cwd=checkout).split()[-1]
    names = zipfile.ZipFile(tmp_path / wheel).namelist()
    assert "imagegen/packer/qemu/sources.pkr.hcl" in names
    assert not [name for name in names if "packer/" in name and "seed/" in name]


def test_type_checkers_may_read_the_wheels_annotations(wheel_of_the_sdist):
    """Without this marker they take everything of imagegen for Any (PEP 561)."""
    assert "imagegen/py.typed" in zipfile.ZipFile(wheel_of_the_sdist).namelist()


def test_the_wheel_works_where_it_is_installed(wheel_of_the_sdist, tmp_path):
    """The commands run from the installed files alone, templates included."""
    home = tmp_path / "installed"
    run("-m", "pip", "install", "--quiet", "--no-deps", "--target", home, wheel_of_the_sdist,
        cwd=tmp_path)  # fmt: skip
    where = run("-c", "import imagegen; print(imagegen.__file__)", cwd=tmp_path, path=home)
    assert where.strip().startswith(str(home))
    run("-m", "imagegen", "templates", "export", "mine", cwd=tmp_path, path=home)
    assert {path.name for path in (tmp_path / "mine").iterdir()} == set(NAMES)
    run("-m", "imagegen", "packer", "export", "golden", cwd=tmp_path, path=home)
    assert os.access(tmp_path / "golden/scripts/verify.sh", os.X_OK)
    spec = EXAMPLES / "smallest.yaml"
    run("-m", "imagegen", "build", spec, cwd=tmp_path, path=home)
    assert (tmp_path / "out/small/members/small-1/seed.iso").is_file()


def test_the_editable_install_finds_the_checkouts_templates(tmp_path):
    """What this very test suite runs on."""
    run("-m", "imagegen", "templates", "export", "mine", cwd=tmp_path)
    for name in NAMES:
        assert (tmp_path / "mine" / name).read_bytes() == (
            ROOT / "cloud_init_templates" / name
        ).read_bytes()
