"""A seed in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagegen.media.nocloud import build_seed
from tests.media.seeds import FILES, WHEN


@pytest.fixture(scope="module")
def iso(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("seed") / "seed.iso"
    path.write_bytes(build_seed(FILES, when=WHEN))
    return path
