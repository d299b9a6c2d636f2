"""imagegen.spec.reference: editors learn every setting."""

from __future__ import annotations

import json

import jsonschema

from imagegen.spec.reference import spec_schema


def test_the_schema_is_one():
    """It is valid JSON Schema, describes every setting, and knows no free keys."""
    schema = spec_schema()
    jsonschema.Draft202012Validator.check_schema(schema)

    def walk(node):
        if node.get("type") == "object" and "properties" in node:
            assert node["additionalProperties"] is False
            for name, child in node["properties"].items():
                assert child["description"].strip(), name
                walk(child)
        for key in ("items", "additionalProperties"):
            if isinstance(node.get(key), dict):
                walk(node[key])

    walk(schema)
    json.dumps(schema)
