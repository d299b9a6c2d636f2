"""The work that both ways are given: specs for imagegen, the same as input for the loop."""

import json
from datetime import UTC, datetime
from pathlib import Path

from imagegen.build.load import load_spec
from imagegen.build.options import Options
from imagegen.build.prepare import prepare_from
from imagegen.cluster.cluster import Cluster
from imagegen.documents.render import render_node
from imagegen.documents.templates import Templates
from imagegen.pki.leaves import client_leaves, member_leaves

#: The network that examples/icc-etcd.yaml has, too.
SPEC = """\
cluster: {name}
network:
  prefix: 24
  gateway: 10.{high}.{low}.1
pki:
  layout: {layout}
members:
"""
MEMBER = (
    "  - {{name: {name}-{n}, address: 10.{high}.{low}.{n},"
    ' mac: "52:54:00:{high:02x}:{low:02x}:{n:02x}"}}\n'
)
USAGES = ["signing", "digital signature", "server auth", "client auth"]
PROFILES = {
    "member": {"usages": USAGES, "expiry": "26280h"},
    "client": {"usages": [*USAGES[:2], USAGES[3]], "expiry": "26280h"},
}


def write_specs(folder: Path, *, clusters: int, members: int, layout: str) -> list[Path]:
    """Specs of so many clusters."""
    folder.mkdir(parents=True)
    paths = []
    for number in range(clusters):
        place = {"name": f"fleet-{number:03}", "high": number // 250, "low": number % 250}
        text = SPEC.format(layout=layout, **place)
        text += "".join(MEMBER.format(n=n, **place) for n in range(11, 11 + members))
        paths.append(folder / f"{place['name']}.yaml")
        paths[-1].write_text(text)
    return paths


def write_input(folder: Path, specs: list[Path]) -> None:
    """What the loop needs: documents with variables for the credentials, and a list of these.

    IDs, initial clusters and addresses stand in it already, which the loop has
    not to work out, and which favours it.
    """
    folder.mkdir(parents=True)
    config = {"signing": {"profiles": PROFILES}}
    (folder / "ca-config.json").write_text(json.dumps(config))
    for spec in specs:
        now = datetime.now(UTC)
        options = Options(now=now)
        prepared = prepare_from(load_spec(spec, now=now), options, None)
        cluster, pki = prepared.cluster, prepared.pki
        lab = cluster.one_credential
        place = folder / cluster.name
        place.mkdir()
        authorities = [pki.ca.name] if lab else [pki.ca.name, pki.peer_ca.name]
        (place / "authorities").write_text(
            "".join(f"{a}\t{cluster.name} {a}\n" for a in authorities)
        )
        (place / "leaves").write_text("".join(_leaves(cluster, pki.ca.name, pki.peer_ca.name)))
        for member in cluster.members:
            documents = render_node(cluster, member, pki, Templates())
            credentials = pki.members[member.name]
            files = {f"{pki.ca.name}.pem": pki.ca.certificate_pem}
            files[f"{pki.peer_ca.name}.pem"] = pki.peer_ca.certificate_pem
            roles = {"member": credentials.server} if lab else {}
            roles = roles or {"server": credentials.server, "peer": credentials.peer}
            for role, credential in roles.items():
                files[f"{member.name}-{role}.pem"] = credential.certificate_pem
                files[f"{member.name}-{role}-key.pem"] = credential.key_pem
            text, variables = documents.user_data, ""
            for number, (name, pem) in enumerate(files.items()):
                block = pem.rstrip("\n").replace("\n", "\n      ")
                assert block in text, f"{name} is not in user-data as it was"
                text = text.replace(block, f"${{PEM_{number}}}")
                variables += f"PEM_{number}\t{name}\n"
            node = place / member.name
            node.mkdir()
            files = documents.files() | {
                "user-data": text.encode(),
                "variables": variables.encode(),
            }
            for name, data in files.items():
                (node / name).write_bytes(data)


def _leaves(cluster: Cluster, ca: str, peer_ca: str) -> list[str]:
    lines = []
    for member in cluster.members:
        for leaf in member_leaves(cluster, member):
            authority = peer_ca if leaf.role == "peer" else ca
            hosts = ",".join(map(str, leaf.sans))
            name = f"{member.name}-{leaf.role}"
            lines.append(f"{authority}\t{name}\tmember\t{leaf.common_name}\t{hosts}\n")
    for leaf in client_leaves(cluster):
        lines.append(f"{ca}\t{leaf.owner}\tclient\t{leaf.common_name}\t\n")
    return lines
