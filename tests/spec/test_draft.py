"""imagegen.spec.draft: what checks are asked about is whole."""

from __future__ import annotations

import copy
import dataclasses
import json
import types
from collections.abc import Iterator, Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
import yaml

from imagegen.spec.draft import Draft
from imagegen.spec.kinds import UNREAD, Reader
from imagegen.spec.model import EtcdPlan, MemberPlan, Spec
from imagegen.spec.records import Record
from imagegen.spec.yaml import compose
from tests.conftest import EXAMPLES
from tests.spec.specs import PLAIN


def draft_of(text: str) -> Draft:
    """A spec as far as it could be read."""
    reader = Reader("c.yaml")
    reader.read(Record(Spec), compose(text, "c.yaml"), ())
    return reader.draft


def fits(value: object, hint: Any) -> bool:
    """Whether a value is of the type that its field is declared with."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value is not UNREAD
    if origin in (Union, types.UnionType):
        return any(fits(value, argument) for argument in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(fits(item, arguments[0]) for item in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            fits(key, arguments[0]) and fits(item, arguments[1]) for key, item in value.items()
        )
    if not isinstance(value, hint) or isinstance(value, bool) > (hint is bool):
        return False
    return not dataclasses.is_dataclass(hint) or all(
        fits(getattr(value, name), field) for name, field in get_type_hints(hint).items()
    )


def spoiled(value: Any) -> Iterator[Any]:
    """The value with each part of it in turn replaced by what is seldom right."""
    yield from (None, [], "?")
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in keys:
        for part in spoiled(value[key]):
            other = copy.copy(value)
            other[key] = part
            yield other


@pytest.mark.parametrize("name", ["hardened", "own-certificates", "release"])
def test_a_record_is_whole(name):
    """Whatever is wrong elsewhere, its fields are of their types; None is not against one."""
    for text in map(json.dumps, spoiled(yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text()))):
        for path, value in draft_of(text).values.items():
            assert not dataclasses.is_dataclass(value) or fits(value, type(value)), (path, text)


def test_what_cannot_be_read_is_not_there():
    """And neither is what holds it; what stands beside it is."""
    draft = draft_of(PLAIN.replace("name: b", "name: B") + "etcd: {client_port: x, peer_port: 7}\n")
    assert [path for path, _ in draft.each(MemberPlan, "members", int)] == [
        ("members", 0),
        ("members", 2),
    ]
    assert [name for _, name in draft.each(str, "members", int, "name")] == ["a", "d"]
    assert draft.count("members", int) == 3
    assert draft.get(EtcdPlan, "etcd") is None
    assert draft.get(int, "etcd", "peer_port") == 7
    assert not draft.knows("etcd", "client_port")
    assert draft.get(Spec) is None


def test_what_was_left_out_has_its_default():
    """A check need not tell it from what was written."""
    draft = draft_of(PLAIN)
    assert draft.get(EtcdPlan, "etcd") == EtcdPlan()
    assert draft.knows("distribution")
    assert draft.get(str, "distribution") is None
    assert draft.get(Spec) is not None
