"""A NoCloud seed ISO for each member (docs.cloud-init.io, reference/datasources/nocloud)."""

from __future__ import annotations

from imagegen.documents.names import SEED
from imagegen.documents.render import NodeDocuments
from imagegen.media.nocloud import build_seed
from imagegen.targets.payload import Options, Payload, Target


def package(documents: NodeDocuments, options: Options) -> Payload:  # noqa: ARG001
    """The seed ISO, read back and compared before it is returned."""
    seed = build_seed(
        documents.files(), bundle=documents.bundle, when=documents.cluster.identity.created
    )
    return Payload(files={f"{documents.folder}/{SEED}": seed})


TARGETS = (
    Target(
        name="nocloud-iso",
        makes="members/NAME/seed.iso, a disk image labelled cidata",
        encoding="ISO 9660",
        carries_bundle=True,
        attach="attach each member's seed.iso to its machine, as CD or as read-only disk",
        source="https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html",
        package=package,
    ),
)
