"""The spec loader, and what follows from the specs it takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from random import Random
from urllib.parse import urlsplit
from zlib import crc32

from imagegen.base.problems import ImagegenError, Severity
from imagegen.cluster.cluster import Cluster, Identity, Member
from imagegen.documents.render import render_node
from imagegen.documents.templates import Templates
from imagegen.pki.issue import issue_pki
from imagegen.pki.leaves import member_leaves
from imagegen.pki.model import Pki
from imagegen.spec.model import Spec
from imagegen.spec.read import parse_spec
from imagegen.spec.reference import spec_schema
from imagegen.spec.starter import starter_spec

from . import yaml_text

EXAMPLES = Path(__file__).parents[2] / "examples"
LARGEST = 16 * 1024
SCHEMA = spec_schema()
TEMPLATES = Templates()
NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
#: Rendering costs more than all else here: one in so many of the specs that are taken.
RENDERED = 16


def seeds() -> Iterator[bytes]:
    """The examples, what init writes, and a little of everything."""
    for path in sorted(EXAMPLES.glob("*.yaml")):
        yield path.read_bytes()
    for first in ("10.240.0.11", "2001:db8::11"):
        yield starter_spec(cluster="mine", members=3, first_address=first).encode()
    random = Random(0)
    for _ in range(20):
        yield f"{yaml_text._value(SCHEMA, random)}\n".encode()
    yield yaml_text.BOMB.encode()


def mutate(data: bytes, random: Random) -> bytes:
    """Another spec, or something that was one."""
    return yaml_text.mutate(data.decode(errors="replace"), random, SCHEMA).encode()


def check(data: bytes) -> None:
    """A spec is taken, and its cluster is sound; or every error is explained."""
    text = data.decode(errors="replace")
    try:
        spec, warnings = parse_spec(text, source="spec.yaml")
    except ImagegenError as error:
        assert any(problem.severity is Severity.ERROR for problem in error.problems)
        for problem in error.problems:
            assert problem.where.startswith("spec.yaml")
            assert problem.what
        assert len(str(error)) < 1000 * (len(text) + 1000)
        return
    assert isinstance(spec, Spec)
    assert all(warning.severity is Severity.WARNING for warning in warnings)
    identity = Identity(store_id="0" * 32, token=spec.token or "token", created=NOW)
    cluster = Cluster(spec=spec, identity=identity)
    for member in cluster.members:
        check_member(cluster, member)
    if crc32(data) % RENDERED == 0:
        render(cluster)


def check_member(cluster: Cluster, member: Member) -> None:
    """It is in its initial cluster once; its certificates have each host it advertises."""
    names = [entry.split("=", 1)[0] for entry in cluster.initial_cluster(member).split(",")]
    assert sorted(names) == sorted(m.name for m in cluster.members)
    assert len(set(names)) == len(names)
    server, *peer = member_leaves(cluster, member)
    settings = cluster.settings(member, None)
    for name, leaf in (
        ("ETCD_ADVERTISE_CLIENT_URLS", server),
        ("ETCD_INITIAL_ADVERTISE_PEER_URLS", (peer or [server])[0]),
    ):
        sans = set(map(str, leaf.sans))
        for url in settings[name].split(","):
            assert urlsplit(url).hostname in sans


@cache
def some_pki() -> Pki:
    """Another cluster's: a document holds credentials, whoever they are for."""
    spec, _ = parse_spec((EXAMPLES / "smallest.yaml").read_text(), source="smallest.yaml")
    identity = Identity(store_id="0" * 32, token="token", created=NOW)
    return issue_pki(Cluster(spec=spec, identity=identity), stored=None, now=NOW).pki


def render(cluster: Cluster) -> None:
    """The documents of its first member say what was meant, or it is explained why not."""
    credentials, *_ = some_pki().members.values()
    members = {member.name: credentials for member in cluster.members}
    try:
        render_node(cluster, cluster.members[0], replace(some_pki(), members=members), TEMPLATES)
    except ImagegenError as error:
        # Whatever a spec may say, our own templates say it so that it reads back.
        assert not re.search("not what was meant|does not render", str(error)), error
