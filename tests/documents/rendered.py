"""Documents of the examples, rendered once for all tests."""

from __future__ import annotations

from functools import cache

import yaml

from imagegen.cluster.cluster import Cluster
from imagegen.documents.render import NodeDocuments, render_node
from imagegen.documents.templates import Templates
from imagegen.pki.issue import issue_pki
from imagegen.pki.model import Pki
from tests.conftest import EXAMPLES, NOW, make_cluster

# Those that need no certificates brought along.
RENDERED = ["icc-etcd", "smallest", "three-members-ipv6", "hardened", "release"]


@cache
def built(example: str) -> tuple[Cluster, Pki]:
    cluster = make_cluster((EXAMPLES / f"{example}.yaml").read_text())
    return cluster, issue_pki(cluster, stored=None, now=NOW).pki


def documents(
    example: str, index: int = 0, templates: Templates | None = None, *, secrets: str = "embed"
) -> NodeDocuments:
    cluster, pki = built(example)
    member = cluster.members[index]
    return render_node(cluster, member, pki, templates or Templates(), secrets=secrets)


def files_of(node: NodeDocuments) -> dict[str, dict]:
    return {file["path"]: file for file in yaml.safe_load(node.user_data)["write_files"]}
