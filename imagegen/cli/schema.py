"""``imagegen schema``: the spec, for editors."""

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def schema() -> None:
    """Print the JSON Schema of the spec, for editors."""
    from imagegen.spec.reference import spec_schema

    print(json.dumps(spec_schema(), indent=2))
