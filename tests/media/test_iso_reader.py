"""imagegen.media.iso_reader: any image is read as a guest reads it, or refused, and soon."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagegen.media.iso9660 import SeedError, directories, volumes
from imagegen.media.iso_reader import SIZE_LIMIT, read_seed
from imagegen.media.iso_writer import build_image
from imagegen.media.nocloud import build_seed
from tests.media.seeds import FILES, WHEN, run


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


def test_a_directory_that_contains_itself_is_read_once() -> None:
    """A loop of directories ends; what is in them is still shown."""
    image = bytearray(build_image({"a/b": b"1"}, when=WHEN, label="cidata"))
    root = next(volumes(image))
    folder = next(r for _, r in directories(image, root, lambda _: "") if r.name == b"A")
    inner = folder.content_start + 2 * image[folder.content_start]  # behind . and ..
    image[inner + 2 : inner + 6] = (folder.content_start // 2048).to_bytes(4, "little")
    image[inner + 25] |= 2
    assert [file.name for file in read_seed(bytes(image)).files] == []
