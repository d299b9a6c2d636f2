"""The settings of a spec, for editors."""

from __future__ import annotations

from typing import Any

from imagegen.spec.model import Spec
from imagegen.spec.records import Record


def spec_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a spec, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "imagegen cluster spec",
        **Record(Spec).schema(),
    }
