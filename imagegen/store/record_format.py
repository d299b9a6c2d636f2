"""How format 1 of ``cluster.json`` writes members and IDs, and reading them back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from imagegen.cluster.cluster import RecordedMember, hex_id

FORMAT = 1


def members_json(members: Iterable[RecordedMember]) -> list[dict[str, str]]:
    """Members as the record keeps them, IDs as etcdctl prints them."""
    return [
        {"name": m.name, "peer_url": m.peer_url, "member_id": hex_id(m.member_id)} for m in members
    ]


def members_in(document: Mapping[str, Any]) -> tuple[RecordedMember, ...]:
    """The members under the key ``members``; ValueError says what is wrong with them."""
    return tuple(map(_member, value_of(document, "members", list)))


def _member(item: Any) -> RecordedMember:
    if not isinstance(item, dict) or set(item) != {"name", "peer_url", "member_id"}:
        raise ValueError("members: each has name, peer_url and member_id")
    return RecordedMember(
        name=value_of(item, "name", str),
        peer_url=value_of(item, "peer_url", str),
        member_id=id_in(item, "member_id"),
    )


def value_of(document: Mapping[str, Any], key: str, kind: type) -> Any:
    """The value of a key; ValueError where there is none of this type."""
    value = document.get(key)
    if not isinstance(value, kind):
        raise ValueError(f"{key} is missing or of the wrong type")  # noqa: TRY004  # all faults are one kind
    return value


def id_in(document: Mapping[str, Any], key: str) -> int:
    """The etcd ID under a key; ValueError where it is not one."""
    text = value_of(document, key, str)
    if not re.fullmatch("[0-9a-f]{1,16}", text):
        raise ValueError(f"{key}: {text!r} is not an etcd ID")
    return int(text, 16)
