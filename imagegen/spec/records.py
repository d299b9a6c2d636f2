"""Records: mappings whose keys are settings, each declared as a dataclass field."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

import yaml

from imagegen.spec.draft import Path
from imagegen.spec.kinds import UNREAD, Kind, Reader, Unread, nearest, pairs_of
from imagegen.spec.yaml import NULL

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Record(Kind[T_co]):
    """A mapping whose keys are the fields of a dataclass made with :func:`setting`."""

    cls: type[T_co]

    def read(self, node: yaml.Node, path: Path, reader: Reader) -> T_co | Unread:
        """An instance, if the mapping has all it needs and nothing that is not known."""
        pairs = pairs_of(node, path, reader)
        if pairs is UNREAD:
            return UNREAD
        fields = {f.name: f for f in _settings_of(self.cls)}
        whole = pairs.whole
        values: dict[str, Any] = {}
        for name, value_node, value_path in pairs.good:
            if name not in fields:
                hint = nearest(name, fields) or f"known: {', '.join(fields)}"
                reader.error(value_path, "unknown setting", hint)
                whole = False
                continue
            if value_node.tag == NULL and not fields[name].metadata["required"]:
                continue  # `key:` with nothing behind it leaves the default
            values[name] = reader.read(fields[name].metadata["kind"], value_node, value_path)
        for name, declared in fields.items():
            if name in values:
                continue
            if declared.metadata["required"]:
                reader.error(path, f"{name} is missing", declared.metadata["doc"])
                whole = False
            else:
                reader.draft.values[*path, name] = declared.metadata["default"]
        return self.cls(**values) if whole and UNREAD not in values.values() else UNREAD

    def schema(self) -> dict[str, Any]:
        """A JSON object with these properties and no other."""
        properties = {}
        required = []
        for declared in _settings_of(self.cls):
            schema = {"description": declared.metadata["doc"], **declared.metadata["kind"].schema()}
            default = declared.metadata["default"]
            if isinstance(default, str | int | bool):
                schema["default"] = default
            properties[declared.name] = schema
            if declared.metadata["required"]:
                required.append(declared.name)
        return {
            "type": "object",
            "description": (self.cls.__doc__ or "").strip().split("\n\n")[0],
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }


def _settings_of(cls: type) -> list[dataclasses.Field[Any]]:
    return [declared for declared in dataclasses.fields(cls) if "kind" in declared.metadata]


class _Required:
    pass


@overload
def setting(kind: Kind[T], doc: str) -> T: ...
@overload
def setting(kind: Kind[T], doc: str, *, default: T) -> T: ...
def setting(kind: Kind[Any], doc: str, *, default: Any = _Required) -> Any:
    """Declare a dataclass field as a setting of a spec.

    ``doc`` is one sentence for people: the schema and "is missing" show it.
    The field's type is what ``kind`` reads; with the default None, or None.
    """
    required = default is _Required
    metadata = {"kind": kind, "doc": doc, "required": required, "default": default}
    if required:
        return field(metadata=metadata)
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)
