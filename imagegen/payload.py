"""What a target makes of a member's documents, and whether the place takes it.

A platform hands user-data to a guest in an encoding of its own, up to a size
of its own, and some hand it to everyone in the guest who asks. A
:class:`Target` states these facts; what it packages is a :class:`Payload`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import yaml

from imagegen.encodings import Encoding, encoded
from imagegen.errors import Problem, Severity
from imagegen.fields import LOADER
from imagegen.render import NodeDocuments

#: Nearer than this to a limit is worth a warning.
NARROW = 0.10


class Readers(StrEnum):
    """Who can read a payload, besides those who run the platform."""

    ROOT = "root in the guest"
    GUEST = "any process in the guest"
    NETWORK = "any host that reaches the server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The most bytes a place takes, and of what they are counted."""

    bytes: int
    of: str

    def __str__(self) -> str:
        return f"{self.bytes:,} bytes of {self.of}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller may say about payloads; most targets heed none of it."""

    #: Where the folder ``nocloud-dir`` will be served, without the member's name.
    seed_url: str | None = None
    #: For target ``generic`` alone.
    encoding: Encoding = Encoding.PLAIN
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """One member's files for a target, and how many bytes count against its limit.

    ``files`` are named below the cluster's directory. A file that begins with
    ``#!`` becomes executable.
    """

    files: Mapping[str, bytes] = field(repr=False)
    counted: int = 0
    #: Where it is not the target's own, as with ``--limit``.
    limit: Limit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A place that members' documents can go to.

    ``source`` is where its facts come from; ``unverified`` says what of them
    no primary source was found for, or what could not be tried.
    """

    name: str
    makes: str
    encoding: str
    package: Callable[[NodeDocuments, Options], Payload]
    attach: str
    source: str
    limit: Limit | None = None
    readers: Readers = Readers.ROOT
    unverified: str = ""

    @property
    def secrets(self) -> str:
        """How private keys travel unless the operator says otherwise."""
        return "embed" if self.readers is Readers.ROOT else "split"

    def to_json(self) -> dict[str, object]:
        """Its facts, for programs."""
        return {
            "name": self.name,
            "makes": self.makes,
            "encoding": self.encoding,
            "limit_bytes": self.limit.bytes if self.limit else None,
            "limit_of": self.limit.of if self.limit else None,
            "readers": str(self.readers),
            "secrets": self.secrets,
            "attach": self.attach,
            "source": self.source,
            "unverified": self.unverified,
        }


def size_problems(target: Target, documents: NodeDocuments, payload: Payload) -> Iterator[Problem]:
    """An error for a payload its place does not take, a warning for one that barely fits."""
    limit = payload.limit or target.limit
    if limit is None or payload.counted <= limit.bytes * (1 - NARROW):
        return
    over = payload.counted > limit.bytes
    yield Problem(
        where=f"{documents.member.name}: target {target.name}",
        what=f"{payload.counted:,} bytes, and it takes {limit}; "
        + ", ".join(f"{name} {size:,}" for name, size in largest(documents.user_data)),
        hint="; ".join(remedies(target, documents)),
        severity=Severity.ERROR if over else Severity.WARNING,
    )


def largest(user_data: str) -> list[tuple[str, int]]:
    """What takes the bytes of user-data: each file in it and the rest, the largest first."""
    config = yaml.load(user_data, Loader=LOADER)  # noqa: S506  # a safe loader
    sizes = {file["path"]: len(file["content"].encode()) for file in config["write_files"]}
    sizes["the rest"] = len(user_data.encode()) - sum(sizes.values())
    return sorted(sizes.items(), key=lambda item: -item[1])


def remedies(target: Target, documents: NodeDocuments) -> Iterator[str]:
    """What would make the payload smaller, as far as it applies."""
    raw = documents.user_data.encode()
    if "gzip" not in target.encoding:
        packed = len(encoded(raw, Encoding.GZIP))
        yield f"a target that takes gzip: {packed:,} bytes, {packed * 4 // 3:,} in base64"
    plan = documents.cluster.spec.pki
    if plan.algorithm.startswith("rsa"):
        yield f"pki.algorithm ecdsa-p256 instead of {plan.algorithm}, for a new cluster"
    if documents.secrets == "embed":
        yield "--secrets split: the keys travel on a disk of their own"
    if documents.cluster.spec.extra_user_data:
        yield "less in extra_user_data"
    yield "a target without this limit: imagegen targets"
