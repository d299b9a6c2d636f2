"""A NoCloud seed ISO for each member (docs.cloud-init.io, reference/datasources/nocloud)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from imagegen.render import NodeDocuments
from imagegen.seed import build_seed

NAME = "nocloud-iso"
ATTACH = "attach each member's seed.iso to its machine, as CD or as read-only disk"


def package(documents: NodeDocuments, *, when: datetime) -> Mapping[str, bytes]:
    """The seed ISO, read back and compared before it is returned."""
    return {"seed.iso": build_seed(documents.files(), when=when)}
