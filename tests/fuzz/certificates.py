"""Certificates and keys that an operator brings: damaged, mixed up, or never sound."""

from __future__ import annotations

import base64
import re
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from random import Random

from imagegen.base.problems import ImagegenError, Severity
from imagegen.cluster.cluster import Cluster, Identity
from imagegen.pki.imports import read_imports
from imagegen.pki.issue import issue_pki
from imagegen.pki.pem import certificates_in, private_key_in
from imagegen.spec.model import Spec
from imagegen.spec.read import parse_spec

LARGEST = 96 * 1024
NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
#: Between the files of one input.
NEXT_FILE = b"\0--\0"
FILES = ("ca.pem", "ca-key.pem", "a.pem", "a-key.pem")
SPEC = """
cluster: brought
members: [{name: a, address: 10.0.0.11}]
pki:
  layout: lab
  imports:
    ca: {certificate: ca.pem, key: ca-key.pem}
    members: {a: {server: {certificate: a.pem, key: a-key.pem}}}
"""
BLOCK = re.compile(rb"(-----BEGIN [A-Z ]+-----\n)(.*?)(-----END)", re.DOTALL)
SECRET = re.compile(r"PRIVATE KEY-----\n(.*?)-----END", re.DOTALL)


@cache
def spec() -> Spec:
    return parse_spec(SPEC, source="spec.yaml")[0]


@cache
def folder() -> tempfile.TemporaryDirectory[str]:
    """Where the files of the input at hand are; it goes with the process."""
    return tempfile.TemporaryDirectory()


def seeds() -> Iterator[bytes]:
    """Credentials of each kind of key, and with the files in each other's place."""
    own = SPEC.partition("  imports:")[0]
    for algorithm in ("ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048"):
        plan, _ = parse_spec(f"{own}  algorithm: {algorithm}\n", source="spec.yaml")
        identity = Identity(store_id="0" * 32, token="token", created=NOW)
        pki = issue_pki(Cluster(spec=plan, identity=identity), stored=None, now=NOW).pki
        credential = pki.members["a"].server
        files = (pki.ca.certificate_pem, pki.ca.key_pem or "")
        files += (credential.certificate_pem, credential.key_pem)
        yield NEXT_FILE.join(map(str.encode, files))
        yield NEXT_FILE.join(map(str.encode, (*files[2:], *files[:2])))
        chain = credential.certificate_pem + pki.ca.certificate_pem
        yield NEXT_FILE.join(map(str.encode, (*files[:2], chain, files[3])))


def check(data: bytes) -> None:
    """It is taken, and fits together; or every error is explained. No message quotes a key."""
    for name, content in zip(FILES, data.split(NEXT_FILE), strict=False):
        Path(folder().name, name).write_bytes(content)
    try:
        imported, problems = read_imports(
            spec(), Path(folder().name), now=NOW, passphrase=b"passphrase"
        )
    except ImagegenError as error:
        imported, problems = None, error.problems
    said = "\n".join(map(str, problems))
    for secret in SECRET.findall(data.decode(errors="replace")):
        assert not any(line in said for line in secret.splitlines() if len(line) > 30)
    if any(problem.severity is Severity.ERROR for problem in problems):
        return
    assert imported is not None
    assert imported.ca is not None
    credential = imported.members["a"].server
    public = certificates_in(credential.certificate_pem)[0].public_key()
    assert private_key_in(credential.key_pem).public_key() == public


def mutate(data: bytes, random: Random) -> bytes:
    """Another certificate or key within its PEM, or its text, or files in another order."""
    files = data.split(NEXT_FILE)
    at = random.randrange(len(files))
    change = random.random()
    if change < 0.8 and (blocks := list(BLOCK.finditer(files[at]))):
        block = random.choice(blocks)
        letters = re.sub(rb"[^A-Za-z0-9+/]", b"", block[2])
        der = bytearray(base64.b64decode(letters + b"A" * (-len(letters) % 4)))
        for _ in range(random.choice((1, 1, 2, 4))):
            change_der(der, random)
        text = block[1] + base64.encodebytes(der) + block[3]
        files[at] = files[at][: block.start()] + text + files[at][block.end() :]
    elif change < 0.9:
        other = random.choice(files)
        files[at] = random.choice((other, files[at] + other, b"", other[: len(other) // 2]))
    else:
        place = random.randrange(len(files[at]) + 1)
        what = random.choice(
            (b"\0", b"\r\n", b"\xff", b"-----BEGIN X-----\n", b"Proc-Type: 4,ENCRYPTED\n")
        )
        files[at] = files[at][:place] + what + files[at][place + random.randrange(2) :]
    return NEXT_FILE.join(files)


def values(der: bytes) -> list[tuple[int, int, int]]:
    """Where each DER value's tag, content and end are, those inside others too."""
    found = []
    waiting = [(0, len(der))]
    while waiting and len(found) < 500:
        at, end = waiting.pop()
        while at + 2 <= end:
            tag, length, content = der[at], der[at + 1], at + 2
            if length & 0x80:
                size = length & 0x7F
                length = int.from_bytes(der[content : content + size])
                content += size
            if content + length > end:
                break
            found.append((at, content, content + length))
            # Octet and bit strings often hold more DER: extensions, keys.
            if tag & 0x20 or tag == 4:
                waiting.append((content, content + length))
            elif tag == 3 and length > 1:
                waiting.append((content + 1, content + length))
            at = content + length
    return found


def change_der(der: bytearray, random: Random) -> None:
    """One value changed in place or, its length told to none around it, cut or doubled."""
    found = values(der)
    if not found:
        der += random.randbytes(2)
        return
    at, content, end = random.choice(found)
    change = random.randrange(7)
    if change == 0:
        der[at] = random.choice(
            (1, 2, 3, 4, 5, 6, 12, 19, 22, 23, 24, 48, 49, 128, 130, 163, der[at] ^ 32)
        )
    elif change == 1 and content < end:
        der[random.randrange(content, end)] = random.choice((0, 1, 0x2A, 0x7F, 0x80, 0xFF))
    elif change == 2 and content < end:
        der[content:end] = random.choice((b"\0", b"\xff")) * (end - content)
    elif change == 3:
        der[at + 1] = random.choice((0, 1, 0x7F, 0x80, 0x81, 0x84, 0xFF, (der[at + 1] + 1) & 255))
    elif change == 4:
        one, two, three = random.choice(found)
        if three - two == end - content:
            der[content:end] = der[two:three]
        else:
            der[at:end] = der[one:three]
    elif change == 5:
        # An integer, a name or a string far longer than any; all around it grow too.
        long = bytes(random.choice((64, 1000, 20000)))
        _replace(der, found, at, end, bytes([der[at]]) + _length(len(long)) + b"\x01" + long[1:])
    else:
        _replace(der, found, at, end, random.choice((b"", bytes(der[at:end]) * 2)))


def _length(number: int) -> bytes:
    if number < 128:
        return bytes([number])
    size = (number.bit_length() + 7) // 8
    return bytes([0x80 | size]) + number.to_bytes(size)


def _replace(
    der: bytearray, found: list[tuple[int, int, int]], at: int, end: int, new: bytes
) -> None:
    """Put ``new`` in place of a value, and tell every value around it its length."""
    around = [value for value in found if value[0] < at and value[2] >= end]
    der[at:end] = new
    grown = len(new) - (end - at)
    # From the inside out: a length may need more bytes itself.
    for start, content, stop in sorted(around, reverse=True):
        head = bytes([der[start]]) + _length(stop - content + grown)
        der[start:content] = head
        grown += len(head) - (content - start)
