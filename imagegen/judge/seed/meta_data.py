"""meta-data, as cloud-init's NoCloud datasource reads it."""

from __future__ import annotations

from imagegen.judge.seed.findings import Findings
from imagegen.judge.seed.limited_yaml import YamlDocument


def check_meta_data(document: YamlDocument, found: Findings) -> None:
    """Note what is missing from meta-data that was read."""
    if document.value.get("instance-id") in (None, ""):
        found.warn(
            "meta-data",
            "no instance-id: cloud-init takes nocloud, and will ignore a later seed "
            "without one as already done",
            "add an instance-id, a new one for each first boot",
        )
