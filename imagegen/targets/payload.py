"""What a target makes of a member's documents, and whether the place takes it.

A platform hands user-data to a guest in an encoding of its own, up to a size
of its own, and some hand it to everyone in the guest who asks. A
:class:`Target` states these facts; what it packages is a :class:`Payload`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeAlias

import yaml

from imagegen.base.problems import Problem, Severity
from imagegen.documents.render import NodeDocuments
from imagegen.documents.templates import yaml_scalar
from imagegen.media.encodings import Encoding
from imagegen.spec.model import Spec
from imagegen.spec.secrets import Secrets
from imagegen.spec.yaml import LOADER

#: Nearer than this to a limit is worth a warning.
NARROW = 0.10
#: The keys that make the smallest certificates of those everyone takes.
SMALL_KEYS = "ecdsa-p256"


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
    #: Whether its seed brings what mode bundle installs; else that comes on a disc of its own.
    carries_bundle: bool = False

    @property
    def secrets(self) -> Secrets:
        """How private keys travel unless the operator says otherwise."""
        return Secrets.EMBED if self.readers is Readers.ROOT else Secrets.SPLIT

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


#: Renders the member's documents as they would be with keys brought so and by that spec.
Render: TypeAlias = Callable[[str, Spec], NodeDocuments]


def size_problems(
    target: Target,
    documents: NodeDocuments,
    payload: Payload,
    *,
    options: Options | None = None,
    render: Render | None = None,
    others: Callable[[], Mapping[str, Target]] = dict,
) -> Iterator[Problem]:
    """An error for a payload its place does not take, a warning for one that barely fits.

    With ``render`` the hint says what other choices would come to, measured;
    with ``others`` which targets have no limit.
    """
    limit = payload.limit or target.limit
    if limit is None or payload.counted <= limit.bytes * (1 - NARROW):
        return

    def weigh(documents: NodeDocuments) -> int:
        return target.package(documents, options or Options()).counted

    hints = []
    if render:
        hints += list(remedies(documents, render, weigh, payload.counted, limit))
    if roomy := [name for name, other in others().items() if other.limit is None]:
        hints.append(f"targets without a limit: {', '.join(roomy)}")
    over = payload.counted > limit.bytes
    shares = ", ".join(f"{name} {size:,}" for name, size in largest(documents, weigh))
    yield Problem(
        where=f"{documents.member.name}: target {target.name}",
        what=f"{payload.counted:,} bytes, and it takes {limit}; what each file adds: {shares}",
        hint="; ".join(hints) or "a target without a limit: see imagegen targets",
        severity=Severity.ERROR if over else Severity.WARNING,
    )


def largest(
    documents: NodeDocuments, weigh: Callable[[NodeDocuments], int]
) -> list[tuple[str, int]]:
    """Each file in user-data and what it adds to the payload, the largest first.

    Together they come to less than the payload: what two files have in
    common, a compressed payload has once.
    """
    config = yaml.load(documents.user_data, Loader=LOADER)  # noqa: S506  # a safe loader
    files = config["write_files"]
    whole = weigh(_saying(documents, config))
    sizes = [
        (
            file["path"],
            whole - weigh(_saying(documents, config | {"write_files": files[:n] + files[n + 1 :]})),
        )
        for n, file in enumerate(files)
    ]
    return sorted(sizes, key=lambda item: -item[1])


def _saying(documents: NodeDocuments, config: Mapping[str, object]) -> NodeDocuments:
    lines = (f"{key}: {yaml_scalar(value)}\n" for key, value in config.items())
    return replace(documents, user_data="#cloud-config\n" + "".join(lines))


def remedies(
    documents: NodeDocuments,
    render: Render,
    weigh: Callable[[NodeDocuments], int],
    now: int,
    limit: Limit,
) -> Iterator[str]:
    """What would make the payload smaller, as far as it applies, and how small."""
    spec = documents.cluster.spec
    other = replace(spec, pki=replace(spec.pki, algorithm=SMALL_KEYS))
    ways: list[tuple[str, str, Spec]] = []
    if documents.secrets == Secrets.EMBED:
        ways.append(("--secrets split", Secrets.SPLIT, spec))
    if spec.pki.algorithm.startswith("rsa") and not spec.pki.imports:
        ways.append((f"pki.algorithm {SMALL_KEYS} in a new cluster", documents.secrets, other))
        if documents.secrets == Secrets.EMBED:
            ways.append(("both", Secrets.SPLIT, other))
    if spec.extra_user_data:
        ways.append(("no extra_user_data", documents.secrets, replace(spec, extra_user_data={})))
    for what, secrets, changed in ways:
        size = weigh(render(secrets, changed))
        if size < now:
            yield f"{what}: {size:,} bytes" + (", still too many" if size > limit.bytes else "")
