"""From a cluster and its keys to the documents each member boots with.

What a document must say is first composed as plain data; a template lays it
out as text; the text is parsed back and compared with the data. A broken
string, the commonest fault of hand-made seeds, cannot leave this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from imagegen._version import __version__
from imagegen.base.problems import ImagegenError
from imagegen.cluster.cluster import Cluster, Member
from imagegen.documents import guest
from imagegen.documents.cloud_config import cloud_config, merged
from imagegen.documents.guest_files import private_keys
from imagegen.documents.names import member_folder
from imagegen.documents.netconfig import network_config
from imagegen.documents.readback import compare_rendered, load_rendered
from imagegen.documents.templates import Templates
from imagegen.spec.model import APPENDED
from imagegen.spec.secrets import Secrets

if TYPE_CHECKING:
    from imagegen.pki.model import Pki


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDocuments:
    """What one member boots with.

    With ``secrets`` embed, user-data holds its private keys; else they are
    in ``keys``, by the name each file has on the member, and nowhere else.
    ``bundle`` are the files first boot installs from, if it is to find them on
    the seed.
    """

    cluster: Cluster
    member: Member
    secrets: str
    keys: Mapping[str, str] = field(repr=False)
    user_data: str = field(repr=False)
    meta_data: str
    network_config: str
    bundle: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def folder(self) -> str:
        """Where the member's files are, below the cluster's directory."""
        return member_folder(self.member.name)

    def files(self) -> dict[str, bytes]:
        """The documents under the names NoCloud looks for."""
        return {
            "user-data": self.user_data.encode(),
            "meta-data": self.meta_data.encode(),
            "network-config": self.network_config.encode(),
        }


def render_node(
    cluster: Cluster,
    member: Member,
    pki: Pki,
    templates: Templates,
    *,
    secrets: str = Secrets.EMBED,
) -> NodeDocuments:
    """The documents of one member.

    ``secrets`` says how its private keys reach it: ``embed`` in user-data,
    ``split`` on a disk of their own, ``external`` by the operator.

    Raises:
        ImagegenError: a template is broken, or does not say what it must.
    """
    credentials = pki.members[member.name]
    config = cloud_config(cluster, member, credentials, pki, templates, secrets)
    extra = cluster.spec.extra_user_data
    user_data = templates.render(
        "user-data.yaml.j2",
        cluster=cluster,
        member=member,
        version=__version__,
        secrets=secrets,
        keys_label=guest.keys_label(member.instance_id),
        config={"users": [], "ssh_authorized_keys": []} | config,
        extra={key: extra.get(key, []) for key in APPENDED}
        | {"others": {key: value for key, value in extra.items() if key not in APPENDED}},
    )
    if not user_data.startswith("#cloud-config\n"):
        raise ImagegenError(
            "user-data.yaml.j2: the first line must be #cloud-config",
            hint="cloud-init ignores the whole document otherwise",
        )
    compare_rendered(
        "user-data.yaml.j2", load_rendered("user-data.yaml.j2", user_data), merged(config, extra)
    )

    meta = {"instance-id": member.instance_id, "local-hostname": member.name}
    meta_data = templates.render("meta-data.yaml.j2", cluster=cluster, member=member, meta=meta)
    compare_rendered("meta-data.yaml.j2", load_rendered("meta-data.yaml.j2", meta_data), meta)

    network = network_config(cluster.spec.network, member.plan)
    network_text = templates.render(
        "network-config.yaml.j2", cluster=cluster, member=member, network=network
    )
    compare_rendered(
        "network-config.yaml.j2",
        load_rendered("network-config.yaml.j2", network_text),
        network or {},
    )
    keys = {} if secrets == Secrets.EMBED else private_keys(cluster, credentials)
    return NodeDocuments(
        cluster=cluster,
        member=member,
        secrets=secrets,
        keys={PurePosixPath(path).name: text for path, text in keys.items()},
        user_data=user_data,
        meta_data=meta_data,
        network_config=network_text,
    )
