"""``inspect`` on images that are damaged, or were never sound."""

from __future__ import annotations

import base64
import gzip
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from random import Random
from typing import NamedTuple

import pycdlib

from imagegen.base.problems import ImagegenError
from imagegen.cluster.cluster import Cluster, Identity
from imagegen.documents.render import render_node
from imagegen.documents.templates import Templates
from imagegen.judge.seed.inspect import inspect_seed
from imagegen.media.iso_writer import build_image
from imagegen.pki.issue import issue_pki
from imagegen.spec.read import parse_spec

from . import yaml_text

EXAMPLES = Path(__file__).parents[2] / "examples"
LARGEST = 192 * 1024
SECTOR = 2048
#: Before the first descriptor nothing is read: left out of every input.
SYSTEM_AREA = bytes(16 * SECTOR)
NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
#: Enough of cloud-config's and network-config's keys to change documents where it matters.
ANY = {"type": "string"}
LIST = {"type": "array", "items": ANY}
KEYS = ("path", "content", "encoding", "permissions", "owner", "defer", "name", "type", "to")
ENTRY = {"type": "object", "properties": dict.fromkeys(KEYS, ANY)}
SCHEMA = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("hostname", "fqdn", "instance-id", "version", "merge_how"), ANY),
        **dict.fromkeys(("users", "packages", "runcmd"), LIST),
        **{key: {"type": "array", "items": ENTRY} for key in ("write_files", "config")},
        "ethernets": {"type": "object", "additionalProperties": ENTRY},
    },
}
#: A byte of a number, or of a length, that readers stumble over.
NUMBERS = (0, 1, 2, 3, 4, 33, 34, 127, 128, 254, 255)
SIGNATURES = (b"SP", b"CE", b"NM", b"SL", b"TF", b"ER", b"PX", b"RR", b"CL", b"PL", b"RE", b"ZF")


def documents() -> Iterator[bytes]:
    """User-data: plain, of several parts, compressed, and of the kinds that multiply."""
    config = b"#cloud-config\nhostname: a\nwrite_files:\n- path: /a\n  permissions: 0600\n"
    yield config + b"  content: !!binary YQ==\n  encoding: gz+b64\nruncmd: [[id], id]\n"
    packed = base64.b64encode(gzip.compress(bytes(10**6)))
    yield config + b"  encoding: gz+b64\n  content: " + packed + b"\n"
    yield b"#cloud-config\n" + yaml_text.BOMB.encode()
    yield gzip.compress(b"#cloud-config\n" + bytes(10**6))
    yield b"## template: jinja\n#cloud-config\nhostname: '{{ v1.name }}'\n"
    part = b"--b\nContent-Type: text/cloud-config\nMerge-Type: list(append)\n\n" + config
    mime = b'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b"\n\n'
    yield mime + part * 3 + b"--b--\n"
    archive = b"#cloud-config-archive\n- type: text/cloud-config\n  content: |\n    a: 1\n"
    yield archive + b"- '#!/bin/sh'\n"


def seeds() -> Iterator[bytes]:
    """A member's seed as we build it, and images with documents of other kinds."""
    for example in ("smallest", "three-members-ipv6"):
        spec, _ = parse_spec((EXAMPLES / f"{example}.yaml").read_text(), source=example)
        cluster = Cluster(
            spec=spec, identity=Identity(store_id="0" * 32, token="token", created=NOW)
        )
        pki = issue_pki(cluster, stored=None, now=NOW).pki
        node = render_node(cluster, cluster.members[0], pki, Templates())
        yield built(node.files())
    network = b"version: 1\nconfig:\n- type: physical\n  name: a\n  subnets: [{type: dhcp}]\n"
    for user_data in documents():
        yield built({"user-data": user_data, "meta-data": b"{instance-id: a}\n"})
    yield built({"user-data": b"", "meta-data": b"", "network-config": network, "d/e/f": b"x"})
    yield linked()


def built(files: dict[str, bytes]) -> bytes:
    return build_image(files, when=NOW, label="cidata")[len(SYSTEM_AREA) :]


def linked() -> bytes:
    """A seed whose documents are symbolic links: to each other, out of it, and to a file on it."""
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident="cidata")
    text = b"#cloud-config\nhostname: a\n"
    iso.add_fp(BytesIO(text), len(text), "/REAL.;1", rr_name="real", joliet_path="/real")
    targets = {"user-data": "meta-data", "meta-data": "user-data", "network-config": "real"}
    targets |= {"vendor-data": "../../../etc/shadow", "x": "/proc/self/mem"}
    for number, (name, target) in enumerate(targets.items()):
        iso.add_symlink(f"/LINK{number}.;1", name, target)
    image = BytesIO()
    iso.write_fp(image)
    return image.getvalue()[len(SYSTEM_AREA) :]


def check(data: bytes) -> None:
    """It is described, in printable lines and in JSON; or it is said that it cannot be read."""
    try:
        report = inspect_seed(SYSTEM_AREA + data, source="seed.iso")
    except ImagegenError as error:
        assert all(problem.where == "seed.iso" and problem.hint for problem in error.problems)
        return
    text = json.dumps(report.to_json())
    lines = report.lines()
    assert all(line.isprintable() for line in lines)
    assert len(text) + sum(map(len, lines)) < 4 * 1024 * 1024
    assert len(report.problems) <= 200


def mutate(data: bytes, random: Random) -> bytes:
    """Another image: a field, a record, a name or a document of it is changed."""
    image = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        if len(image) < 2 * SECTOR:
            return bytes(image) + random.randbytes(SECTOR)
        random.choices(CHANGES, WEIGHTS)[0](image, random)
    return bytes(image)


class Record(NamedTuple):
    at: int
    extent: int
    size: int


def records(image: bytearray) -> list[Record]:
    """The directory records of what is left of both volumes, as far as they can be followed."""
    found = []
    for descriptor in range(0, min(len(image), 8 * SECTOR) - SECTOR + 1, SECTOR):
        if image[descriptor] not in (1, 2):
            continue
        waiting = [descriptor + 156]
        for _ in range(8):
            if not waiting:
                break
            at, size = _extent(image, waiting.pop(0))
            end = min(at + min(size, SECTOR), len(image) - 34)
            while 0 <= at < end and image[at] >= 34:
                record = Record(at, *_extent(image, at))
                found.append(record)
                if image[at + 25] & 2 and image[at + 32] > 1:
                    waiting.append(at)
                at += image[at]
    return found


def _extent(image: bytearray, record: int) -> tuple[int, int]:
    block, size = struct.unpack_from("<I4xI", image, record + 2)
    return block * SECTOR - len(SYSTEM_AREA), size


def _number(image: bytearray, at: int, random: Random) -> None:
    """One byte, or a number in the order of bytes that is read."""
    if random.random() < 0.5:
        image[at] = random.choice((*NUMBERS, image[at] ^ 1 << random.randrange(8)))
    elif at + 4 <= len(image):
        (old,) = struct.unpack_from("<I", image, at)
        new = (0, 1, 16, 17, SECTOR, 2**16, 2**26, 2**31, 2**32 - 1, old + 1, old - 1, old * 2)
        struct.pack_into("<I", image, at, random.choice(new) & 0xFFFFFFFF)


def _descriptor(image: bytearray, random: Random) -> None:
    start = SECTOR * random.randrange(min(4, len(image) // SECTOR))
    fields = (0, 1, 6, 40, 80, 88, 120, 128, 132, 140, 156, 158, 162, 166, 181, 188, 813, 829, 881)
    _number(image, start + random.choice(fields), random)


def _field(image: bytearray, random: Random) -> None:
    """A number of a directory record, or a byte of its name or of an entry behind it."""
    if found := records(image):
        record = random.choice(found)
        length = max(34, image[record.at])
        at = record.at + random.choice(
            (0, 1, 2, 10, 18, 25, 26, 27, 32, 33, random.randrange(length))
        )
        if at < len(image):
            _number(image, at, random)


def _entry(image: bytearray, random: Random) -> None:
    """Another Rock Ridge entry in place of one that is there."""
    signature = random.choice(SIGNATURES)
    at = image.find(signature, random.randrange(len(image)))
    if 0 <= at < len(image) - 32:
        change = random.randrange(3)
        if change == 0:
            image[at : at + 2] = random.choice(SIGNATURES)
        elif change == 1:
            image[at + 2] = random.choice(NUMBERS)
        else:
            _number(image, at + random.randrange(3, 28), random)


def _name(image: bytearray, random: Random) -> None:
    """A name that would lead elsewhere, or that a terminal would obey, over one that is there."""
    names = (b"../../../etc", b"/etc/passwd", b"\x1b[31mred\x1b", b"user-data", b"meta-data", b"..")
    name = random.choice(names)
    old = random.choice((b"user-data", b"meta-data", b"USERDATA", b"NM"))
    if random.random() < 0.5:
        name, old = name.decode().encode("utf-16-be"), old.decode().encode("utf-16-be")
    at = image.find(old)
    if at >= 0:
        image[at : at + len(name)] = name


def _document(image: bytearray, random: Random) -> None:
    """Other text in one file, of whatever length; every record of it is told."""
    files = [r for r in records(image) if not image[r.at + 25] & 2 and 0 <= r.extent < len(image)]
    if not files:
        return
    file = random.choice(files)
    content = bytes(image[file.extent : file.extent + min(file.size, 65536)])
    if random.random() < 0.15:
        content = random.choice((gzip.compress(content), base64.b64encode(content), content * 2))
    else:
        text = yaml_text.mutate(content.decode(errors="replace"), random, SCHEMA)
        content = text.encode()
    if len(image) + len(content) > LARGEST:
        return
    image += bytes(-len(image) % SECTOR)
    block = (len(image) + len(SYSTEM_AREA)) // SECTOR
    for record in files:
        if record.extent == file.extent:
            struct.pack_into("<I4xI", image, record.at + 2, block, len(content))
    image += content


def _cut(image: bytearray, random: Random) -> None:
    del image[random.randrange(len(image)) :]


def _sectors(image: bytearray, random: Random) -> None:
    """One sector over another: descriptors and directories where they do not belong."""
    count = min(len(image) // SECTOR, 24)
    one, two = (SECTOR * random.randrange(count) for _ in range(2))
    image[one : one + SECTOR] = image[two : two + SECTOR]


CHANGES = (_document, _field, _descriptor, _entry, _name, _sectors, _cut)
WEIGHTS = (8, 6, 3, 3, 1, 0.5, 0.3)
