"""imagegen.media.nocloud: what cloud-init would ignore is not built."""

from __future__ import annotations

import pytest

from imagegen.media.iso9660 import SeedError
from imagegen.media.iso_reader import SIZE_LIMIT, read_seed
from imagegen.media.nocloud import build_seed
from tests.media.seeds import FILES, WHEN


@pytest.mark.parametrize("label", ["cidata", "CIDATA"])
def test_either_label(label: str) -> None:
    assert read_seed(build_seed(FILES, when=WHEN, label=label)).label == label


@pytest.mark.parametrize(
    ("files", "label", "what"),
    [
        (FILES, "CiData", "label"),
        ({"user-data": b""}, "cidata", "without meta-data"),
        ({"meta-data": b""}, "cidata", "without user-data"),
        ({**FILES, "user_data": b""}, "cidata", "'user_data' is not a file"),
        ({**FILES, "user-data": bytes(SIZE_LIMIT)}, "cidata", "larger than"),
    ],
)
def test_refuses_what_cloud_init_would(files: dict[str, bytes], label: str, what: str) -> None:
    with pytest.raises(SeedError, match=what):
        build_seed(files, when=WHEN, label=label)
