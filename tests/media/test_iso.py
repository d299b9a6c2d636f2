"""Seeds, read back by programs that are not ours."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagegen.media.iso9660 import SeedError, directories, volumes
from imagegen.media.iso_reader import SIZE_LIMIT, read_seed
from imagegen.media.iso_writer import _empty_image, build_image
from imagegen.media.nocloud import build_seed
from tests.conftest import require_program

WHEN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
FILES = {
    "user-data": "#cloud-config\nhostname: höst\n".encode(),
    "meta-data": b"instance-id: i-1\n",
    "network-config": b"\x00" * 2049,
}


def run(*command: str | Path, **options: Any) -> bytes:
    program = require_program(str(command[0]))
    result = subprocess.run(
        [program, *command[1:]], capture_output=True, check=False, timeout=60, **options
    )
    assert result.returncode == 0, result.stderr.decode()
    output: bytes = result.stdout
    return output


@pytest.fixture(scope="module")
def iso(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("seed") / "seed.iso"
    path.write_bytes(build_seed(FILES, when=WHEN))
    return path


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

    @pytest.mark.parametrize("label", ["cidata", "CIDATA"])
    def test_either_label(self, label: str) -> None:
        assert read_seed(build_seed(FILES, when=WHEN, label=label)).label == label

    @pytest.mark.parametrize(
        ("files", "label", "what"),
        [
            (FILES, "CiData", "label"),
            ({"user-data": b""}, "cidata", "without meta-data"),
            ({"meta-data": b""}, "cidata", "without user-data"),
            ({**FILES, "user_data": b""}, "cidata", "'user_data' is not a file"),
            ({**FILES, "user-data": bytes(SIZE_LIMIT)}, "cidata", "larger than"),
        ],
    )
    def test_refuses_what_cloud_init_would(
        self, files: dict[str, bytes], label: str, what: str
    ) -> None:
        with pytest.raises(SeedError, match=what):
            build_seed(files, when=WHEN, label=label)

    def test_the_seed_shows_no_content(self) -> None:
        files = {"user-data": b"hunter2", "meta-data": b"hunter2"}
        assert "hunter2" not in repr(read_seed(build_seed(files, when=WHEN)))

    def test_importing_leaves_pycdlib_alone(self) -> None:
        check = (
            "import sys, imagegen.media.nocloud, imagegen.judge.seed.inspect;"
            " sys.exit('pycdlib' in sys.modules)"
        )
        run(sys.executable, "-c", check)


class TestRead:
    def test_reads_a_stream(self, iso: Path) -> None:
        with iso.open("rb") as stream:
            assert read_seed(stream) == read_seed(iso.read_bytes())

    def test_prefers_rock_ridge_then_joliet_as_linux_does(self, tmp_path: Path) -> None:
        (tmp_path / "user-data").write_bytes(b"u")
        for options, names in (
            (("-R", "-J"), {"user-data"}),
            (("-J",), {"user-data"}),
            ((), {"user_dat"}),
            (("-iso-level", "4"), {"user-data"}),
        ):
            image = tmp_path / "seed.iso"
            run("genisoimage", "-quiet", *options, "-o", image, tmp_path / "user-data")
            seed = read_seed(image.read_bytes())
            assert {file.name for file in seed.files} == names
            assert (seed.rock_ridge is not None) == ("-R" in options)
            assert (seed.joliet is not None) == ("-J" in options)

    def test_reads_names_that_continue_elsewhere(self, tmp_path: Path) -> None:
        """Rock Ridge moves what does not fit into a directory record to a continuation area."""
        source = tmp_path / "in"
        source.mkdir()
        names = {"n" * length for length in (1, 100, 180, 254)}
        for name in names:
            (source / name).write_text(name)
        for program in (("xorriso", "-as", "mkisofs"), ("genisoimage",)):
            run(*program, "-quiet", "-R", "-o", tmp_path / "seed.iso", source)
            files = read_seed((tmp_path / "seed.iso").read_bytes()).files
            assert {file.name: file.content.decode() for file in files} == {n: n for n in names}

    def test_leaves_links_and_directories_out(self, tmp_path: Path) -> None:
        source = tmp_path / "in"
        (source / "meta-data").mkdir(parents=True)
        (source / "user-data").symlink_to("elsewhere")
        run("genisoimage", "-quiet", "-R", "-o", tmp_path / "seed.iso", source)
        assert read_seed((tmp_path / "seed.iso").read_bytes()).files == ()

    @pytest.mark.parametrize(
        ("data", "kind"),
        [
            (b"", "an empty file"),
            (b"\x1f\x8b\x08" + bytes(99), "gzip data"),
            (b"QFI\xfb" + bytes(99), "a qcow2 disk image"),
            (b"#cloud-config\n", "a cloud-config document"),
            (bytes(257) + b"ustar", "a tar archive"),
            (bytes(100_000), "not an ISO 9660 image"),
        ],
    )
    def test_names_what_is_no_iso(self, data: bytes, kind: str) -> None:
        with pytest.raises(SeedError, match=kind) as caught:
            read_seed(data, source="seed.iso")
        assert caught.value.problems[0].where == "seed.iso"

    def test_names_a_fat_image(self, tmp_path: Path) -> None:
        image = tmp_path / "seed.img"
        image.write_bytes(bytes(1_474_560))
        run("mkfs.vfat", "-n", "CIDATA", image)
        with pytest.raises(SeedError, match="a FAT file system"):
            read_seed(image.read_bytes())

    def test_refuses_an_endless_stream(self) -> None:
        class Endless(BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                assert size is not None
                assert size > 0, "read without a limit"
                return bytes(size)

        with pytest.raises(SeedError, match="larger than"):
            read_seed(Endless())


def read_or_refuse(data: bytes) -> None:
    """Reading ends in a seed or in an error of ours, and soon."""
    start = time.perf_counter()
    with suppress(SeedError):
        assert sum(file.size for file in read_seed(data).files) <= SIZE_LIMIT
    assert time.perf_counter() - start < 60  # no end would be a fault, slow is none


class TestDamaged:
    """Whatever the image, reading it ends, and ends well."""

    IMAGE = build_seed(FILES, when=WHEN)

    def test_cut_short_anywhere(self) -> None:
        for length in {*range(0, len(self.IMAGE), 997), *range(32760, 40960, 37)}:
            read_or_refuse(self.IMAGE[:length])

    def test_cut_short_is_noticed(self) -> None:
        with pytest.raises(SeedError, match="cut short"):
            read_seed(self.IMAGE[:-2048])

    @pytest.mark.parametrize("value", [0x00, 0xFF])
    def test_any_byte_lost(self, value: int) -> None:
        for position in range(32768, 32768 + 3 * 2048):
            read_or_refuse(self._with(position, value))
        directories = [i for i in range(32768 + 6 * 2048, len(self.IMAGE)) if self.IMAGE[i]]
        for position in directories:
            read_or_refuse(self._with(position, value))

    @pytest.mark.parametrize("seed", range(500))
    def test_random_damage(self, seed: int) -> None:
        chance = random.Random(seed)
        image = bytearray(self.IMAGE)
        for _ in range(chance.choice((1, 3, 30, 300))):
            image[chance.randrange(32768, len(image))] = chance.randrange(256)
        read_or_refuse(bytes(image))

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=4096))
    def test_noise(self, noise: bytes) -> None:
        read_or_refuse(noise)
        read_or_refuse(self.IMAGE[:32768] + b"\x01CD001" + noise)

    def test_a_directory_that_never_ends(self) -> None:
        image = bytearray(self.IMAGE)
        image[32768 + 166 : 32768 + 170] = b"\xff\xff\xff\xff"
        with pytest.raises(SeedError):
            read_seed(bytes(image))

    def test_thousands_of_names_for_the_same_bytes(self) -> None:
        """Records may share their bytes; together they give no more than a seed can hold."""
        root = 32768 + 156
        start = len(self.IMAGE)
        record = bytearray(34)
        record[0], record[32], record[33] = 34, 1, ord("A")
        record[10:14] = (4_000_000).to_bytes(4, "little")
        image = bytearray(self.IMAGE) + bytes(record) * 60 * 32
        image[root + 2 : root + 6] = (start // 2048).to_bytes(4, "little")
        image[root + 10 : root + 14] = (60 * 34 * 32).to_bytes(4, "little")
        image += bytes(4_100_000)
        with pytest.raises(SeedError):
            read_seed(bytes(image))

    def test_continuations_that_form_a_loop(self) -> None:
        image = bytearray(self.IMAGE)
        at = image.index(b"CE\x1c\x01")
        image[at + 4 : at + 12] = (at // 2048).to_bytes(4, "little") + b"\0" * 4
        image[at + 12 : at + 16] = (at % 2048).to_bytes(4, "little")
        read_or_refuse(bytes(image))

    def _with(self, position: int, value: int) -> bytes:
        image = bytearray(self.IMAGE)
        image[position] = value
        return bytes(image)


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


def test_a_directory_that_contains_itself_is_read_once() -> None:
    """A loop of directories ends; what is in them is still shown."""
    image = bytearray(build_image({"a/b": b"1"}, when=WHEN, label="cidata"))
    root = next(volumes(image))
    folder = next(r for _, r in directories(image, root, lambda _: "") if r.name == b"A")
    inner = folder.content_start + 2 * image[folder.content_start]  # behind . and ..
    image[inner + 2 : inner + 6] = (folder.content_start // 2048).to_bytes(4, "little")
    image[inner + 25] |= 2
    assert [file.name for file in read_seed(bytes(image)).files] == []
