"""``imagegen targets``: what a build packages for."""

import json
from typing import TYPE_CHECKING

from imagegen.cli.options import (
    JsonOption,
)

if TYPE_CHECKING:
    pass


def targets(as_json: JsonOption = False) -> None:
    """List what `build --target` packages for, and what each place takes."""
    from imagegen.targets import targets

    listed = targets().values()
    if as_json:
        print(json.dumps([target.to_json() for target in listed], indent=2))
        return
    for target in listed:
        print(f"{target.name}: {target.makes}")
        print(f"  encoding: {target.encoding}; limit: {target.limit or 'none'}")
        print(f"  read by: {target.readers}; private keys by default: {target.secrets}")
        print(f"  source: {target.source}")
        if target.unverified:
            print(f"  unverified: {target.unverified}")
