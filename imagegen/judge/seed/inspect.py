"""What is on a seed, imagegen's or anyone's, and what cloud-init would make of it.

The rules are cloud-init's own (22.4.2 to 26.2). An error means that it skips
the seed, or that one of its documents has no effect; all else is a warning.

Seeds hold private keys: contents, and parsers' messages quoting them, end in
this package. Seeds of strangers may also be hostile: every document is read
within limits of size, depth and expansion.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from imagegen.base.problems import Problem
from imagegen.judge.seed.document import read_mapping
from imagegen.judge.seed.findings import Findings, shown
from imagegen.judge.seed.limited_yaml import YamlDocument
from imagegen.judge.seed.meta_data import check_meta_data
from imagegen.judge.seed.network_config import check_network_config
from imagegen.judge.seed.report import FileReport, Report
from imagegen.judge.seed.user_data import UserDataReader
from imagegen.judge.seed.volume import check_volume
from imagegen.media.iso_reader import Seed, read_seed


def inspect_seed(data: bytes, *, source: str) -> Report:
    """Judge a seed as cloud-init would; raise SeedError for what is not an ISO image."""
    seed = read_seed(data, source=source)
    found = Findings(source)
    check_volume(seed, found)
    files = {file.name: file.content for file in reversed(seed.files)}
    meta_data, documents = _read_documents(files, found)
    kinds = {"meta-data": "YAML", "network-config": "YAML"}
    kinds |= {name: document.kind for name, document in documents.items()}
    return Report(
        source=source,
        label=shown(seed.label),
        created=seed.created,
        rock_ridge=seed.rock_ridge is not None,
        joliet=seed.joliet is not None,
        instance_id=shown(meta_data.value.get("instance-id") or ""),
        local_hostname=shown(meta_data.value.get("local-hostname") or ""),
        files=tuple(
            FileReport(
                name=shown(file.name),
                size=file.size,
                sha256=hashlib.sha256(file.content).hexdigest(),
                kind=kinds.get(file.name, "not read by cloud-init"),
            )
            for file in seed.files
        ),
        user_data=documents["user-data"].summary() if "user-data" in files else None,
        problems=tuple(found.problems),
    )


def inspect_volume(seed: Seed, *, source: str) -> tuple[Problem, ...]:
    """What cloud-init would mind about a seed, whatever its documents say."""
    found = Findings(source)
    check_volume(seed, found)
    return tuple(found.problems)


def inspect_documents(files: Mapping[str, bytes], *, source: str) -> tuple[Problem, ...]:
    """What cloud-init would mind about documents, by the names NoCloud looks for."""
    found = Findings(source)
    _read_documents(files, found)
    return tuple(found.problems)


def _read_documents(
    files: Mapping[str, bytes], found: Findings
) -> tuple[YamlDocument, dict[str, UserDataReader]]:
    """Judge the documents; meta-data, and what is configured, as far as they can be read."""
    meta_data = read_mapping(files, "meta-data", "cloud-init takes no value from it", found)
    if "meta-data" in files:
        check_meta_data(meta_data, found)
    network_config = read_mapping(files, "network-config", "cloud-init falls back to DHCP", found)
    check_network_config(network_config, found)
    documents = {name: UserDataReader(name, found) for name in ("user-data", "vendor-data")}
    for name, document in documents.items():
        if name in files:
            document.read(files[name])
    return meta_data, documents
