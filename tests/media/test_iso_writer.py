"""imagegen.media.iso_writer: images read back by programs that are not ours."""

from __future__ import annotations

import os
import random
import sys
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagegen.media.iso_reader import read_seed
from imagegen.media.iso_writer import _empty_image, build_image
from imagegen.media.nocloud import build_seed
from tests.media.seeds import FILES, WHEN, run


class TestOtherPrograms:
    """What we build is what everyone else reads."""

    @pytest.mark.parametrize("name_space", ["-R", "-J"])
    def test_isoinfo_reads_exact_names_and_bytes(self, iso: Path, name_space: str) -> None:
        listed = run("isoinfo", name_space, "-f", "-i", iso).decode().split()
        assert sorted(listed) == sorted(f"/{name}" for name in FILES)
        for name, content in FILES.items():
            assert run("isoinfo", name_space, "-x", f"/{name}", "-i", iso) == content

    def test_isoinfo_sees_valid_plain_names(self, iso: Path) -> None:
        listed = run("isoinfo", "-f", "-i", iso).decode().split()
        assert listed == ["/METADATA.;1", "/NETWORKC.;1", "/USERDATA.;1"]

    def test_isoinfo_sees_both_extensions(self, iso: Path) -> None:
        shown = run("isoinfo", "-d", "-i", iso).decode()
        assert "Joliet with UCS level 3 found" in shown
        assert "Rock Ridge signatures version 1 found" in shown

    def test_xorriso_extracts_the_same_bytes(self, iso: Path, tmp_path: Path) -> None:
        run("xorriso", "-osirrox", "on", "-indev", iso, "-extract", "/", tmp_path / "out")
        assert contents(tmp_path / "out") == FILES

    def test_bsdtar_extracts_the_same_bytes_and_dates(self, iso: Path, tmp_path: Path) -> None:
        run("bsdtar", "-x", "-p", "-f", iso, "-C", tmp_path)
        assert contents(tmp_path) == FILES
        for name in FILES:
            found = (tmp_path / name).stat()
            assert datetime.fromtimestamp(found.st_mtime, UTC) == WHEN
            assert found.st_mode & 0o777 == 0o400

    def test_blkid_sees_what_cloud_init_looks_for(self, iso: Path) -> None:
        shown = run("blkid", "-p", "-o", "export", iso).decode().splitlines()
        found = dict(line.split("=", 1) for line in shown)
        assert (found["LABEL"], found["TYPE"]) == ("cidata", "iso9660")
        assert found["UUID"].replace("\\", "") == "2026-03-04-05-06-07-00"

    def test_pycdlib_reads_the_same_bytes(self, iso: Path) -> None:
        pycdlib = pytest.importorskip("pycdlib")
        image = pycdlib.PyCdlib()
        image.open(str(iso))
        for name, content in FILES.items():
            for path in ({"rr_path": f"/{name}"}, {"joliet_path": f"/{name}"}):
                output = BytesIO()
                image.get_file_from_iso_fp(output, **path)
                assert output.getvalue() == content
        image.close()


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


class TestReproducible:
    """The same input makes the same bytes."""

    BUILD = (
        "import sys, time; from datetime import UTC, datetime;"
        "from imagegen.media.nocloud import build_seed;"
        "now = time.time; time.time = lambda: now() + float(sys.argv[1]);"
        "when = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC);"
        "files = {'user-data': b'u', 'meta-data': b'm'};"
        "sys.stdout.buffer.write(build_seed(files, when=when))"
    )

    def test_in_any_zone_locale_and_at_any_time(self) -> None:
        surroundings = [
            ("UTC", "C", 0),
            ("Pacific/Kiritimati", "C.UTF-8", 3601),
            ("America/St_Johns", "de_DE.UTF-8", 86400 * 400),
            ("XYZ+23:45", "C", -86400 * 9000),
        ]
        images = {
            run(
                sys.executable,
                "-c",
                self.BUILD,
                str(offset),
                env={**os.environ, "TZ": zone, "LC_ALL": locale, "PYTHONHASHSEED": str(index)},
            )
            for index, (zone, locale, offset) in enumerate(surroundings)
        }
        assert len(images) == 1

    def test_in_any_order_of_documents(self) -> None:
        reverse = dict(reversed(FILES.items()))
        assert build_seed(reverse, when=WHEN) == build_seed(FILES, when=WHEN)

    def test_one_moment_in_any_zone(self) -> None:
        elsewhere = WHEN.astimezone(timezone(timedelta(hours=-9, minutes=-30)))
        assert build_seed(FILES, when=elsewhere) == build_seed(FILES, when=WHEN)

    def test_another_date_shows_everywhere(self) -> None:
        later = WHEN + timedelta(days=400, hours=1, minutes=1, seconds=1)
        seed = read_seed(build_seed(FILES, when=later))
        assert seed.created == later
        assert {file.modified for file in seed.files + (seed.joliet or ())} == {later}

    def test_the_date_shows_on_the_volume(self, tmp_path: Path) -> None:
        path = tmp_path / "seed.iso"
        path.write_bytes(build_seed(FILES, when=datetime(1999, 12, 31, 23, 59, 58, tzinfo=UTC)))
        shown = run("xorriso", "-indev", path, "-pvd_info").decode()
        for date in ("Creation Time: 1999123123595800", "Modif. Time  : 1999123123595800"):
            assert date in shown

    def test_a_date_without_a_zone_is_refused(self) -> None:
        with pytest.raises(ValueError, match="time zone"):
            build_seed(FILES, when=datetime(2026, 1, 1))


class TestBuild:
    @settings(max_examples=60, deadline=None)
    @given(
        st.fixed_dictionaries(
            {"user-data": st.binary(max_size=5000), "meta-data": st.binary(max_size=5000)},
            optional={
                "network-config": st.binary(max_size=5000),
                "vendor-data": st.binary(max_size=5000),
            },
        ),
        st.datetimes(datetime(1970, 1, 1), datetime(2155, 12, 30), timezones=st.timezones()),
    )
    def test_what_goes_in_comes_out(self, files: dict[str, bytes], when: datetime) -> None:
        seed = read_seed(build_seed(files, when=when))
        for name_space in (seed.rock_ridge, seed.joliet):
            assert name_space is not None
            assert {file.name: file.content for file in name_space} == files
        assert seed.created == when.astimezone(UTC).replace(microsecond=0)

    @pytest.mark.parametrize("size", [0, 1, 2047, 2048, 2049, 5_000_000])
    def test_any_size(self, size: int, tmp_path: Path) -> None:
        content = random.Random(size).randbytes(size)
        image = build_seed({"user-data": content, "meta-data": b""}, when=WHEN)
        (tmp_path / "seed.iso").write_bytes(image)
        run("bsdtar", "-x", "-f", tmp_path / "seed.iso", "-C", tmp_path, "user-data")
        assert (tmp_path / "user-data").read_bytes() == content

    @pytest.mark.parametrize("size", [0, 1, 2048, 2049, 100_000])
    def test_at_most_68_kib_around_the_documents(self, size: int) -> None:
        files = dict.fromkeys(FILES, b"x" * size)
        rounded = sum(-(-size // 2048) * 2048 for _ in files)
        assert len(build_seed(files, when=WHEN)) <= 68 * 1024 + rounded

    def test_a_whole_number_of_sectors(self) -> None:
        assert len(build_seed(FILES, when=WHEN)) % 2048 == 0

    def test_the_seed_shows_no_content(self) -> None:
        files = {"user-data": b"hunter2", "meta-data": b"hunter2"}
        assert "hunter2" not in repr(read_seed(build_seed(files, when=WHEN)))

    def test_importing_leaves_pycdlib_alone(self) -> None:
        check = (
            "import sys, imagegen.media.nocloud, imagegen.judge.seed.inspect;"
            " sys.exit('pycdlib' in sys.modules)"
        )
        run(sys.executable, "-c", check)


def test_the_same_files_give_the_same_bytes() -> None:
    """Whatever pycdlib takes from the clock and from chance is overwritten."""
    images = set()
    for _ in range(20):
        _empty_image.cache_clear()
        images.add(build_seed(FILES, when=WHEN))
    assert len(images) == 1


def test_images_of_as_many_blocks_share_nothing_but_their_layout() -> None:
    """A document shorter than that of the image before ends where it ends; the rest is zeros."""
    secret, short = b"k" * 2000, b"s"
    build_seed(FILES | {"user-data": secret}, when=WHEN)
    image = build_seed(FILES | {"user-data": short}, when=WHEN)
    assert b"kk" not in image
    found = read_seed(image).find("user-data")
    assert found is not None
    assert found.content == short
    later = WHEN + timedelta(days=1)
    assert read_seed(build_seed(FILES, when=later)).created == later


def test_directories_and_long_names(tmp_path: Path) -> None:
    """An image may have folders, and names that ISO 9660 alone cannot hold, to any reader."""
    files = {
        "openstack/latest/user_data": b"one",
        "openstack/latest/meta_data.json": b"two",
        "openstack/content/a-rather-long-name.pem": b"three",
        "openstack/content/a-rather-long-name.txt": b"four",
        "readme": b"five",
    }
    path = tmp_path / "image.iso"
    path.write_bytes(build_image(files, when=WHEN, label="config-2"))
    seed = read_seed(path.read_bytes())
    assert seed.label == "config-2"
    for space in (seed.rock_ridge, seed.joliet):
        assert {file.name: file.content for file in space or ()} == files
        assert {file.modified for file in space or ()} == {WHEN}
    for reader in (["-R"], ["-J"]):
        for name, content in files.items():
            assert run("isoinfo", *reader, "-x", f"/{name}", "-i", path) == content
    out = tmp_path / "out"
    out.mkdir()
    run("bsdtar", "-xf", path, "-C", out)
    found = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert found == files
