"""Documents of a seed, and programs that read one."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.conftest import require_program

WHEN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


FILES = {
    "user-data": "#cloud-config\nhostname: höst\n".encode(),
    "meta-data": b"instance-id: i-1\n",
    "network-config": b"\x00" * 2049,
}


def run(*command: str | Path, **options: Any) -> bytes:
    program = require_program(str(command[0]))
    result = subprocess.run(
        [program, *command[1:]], capture_output=True, check=False, timeout=60, **options
    )
    assert result.returncode == 0, result.stderr.decode()
    output: bytes = result.stdout
    return output
