"""cloud-init's own code, of both releases: what it makes of what a platform hands it."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.conftest import require_program

#: The oldest cloud-init we support and a recent one.
VERSIONS = ("22.4", "25.1")

_MERGED = """
import sys, tempfile
from cloudinit import helpers, util
from cloudinit.handlers import CONTENT_END, CONTENT_START
from cloudinit.handlers.cloud_config import CloudConfigPartHandler
from cloudinit.user_data import UserDataProcessor

class Datasource:
    def __init__(self, paths): self.paths = paths
    def get_instance_id(self): return "i"

def merged(raw):
    '''What modules get to see of user-data that a datasource holds as ``raw``.'''
    with tempfile.TemporaryDirectory() as folder:
        paths = helpers.Paths({"cloud_dir": folder, "run_dir": folder})
        paths.datasource = Datasource(paths)
        util.ensure_dir(paths.get_ipath())
        handler = CloudConfigPartHandler(paths)
        handler.handle_part(None, CONTENT_START, None, None, None, {})
        for part in UserDataProcessor(paths).process(raw).walk():
            if part.is_multipart():
                continue
            kind = part.get_content_type()
            assert kind == "text/cloud-config", kind
            payload = util.fully_decoded_payload(part)
            handler.handle_part(None, kind, part.get_filename(), payload, None, dict(part))
        handler.handle_part(None, CONTENT_END, None, None, None, {})
        return util.load_yaml(open(paths.get_ipath("cloud_config")).read())
"""


def run_in(version: str, code: str, stdin: bytes = b"") -> Any:
    """Run ``code`` beside that cloud-init; what it leaves in ``result``.

    It may call ``merged(raw)``, and reads ``stdin`` with ``sys.stdin.buffer``.
    """
    program = require_program(f"cloud-init-python-{version}")
    script = f"{_MERGED}\n{code}\nimport json\nprint('RESULT' + json.dumps(result))"
    run = subprocess.run(
        [program, "-c", script], input=stdin, capture_output=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stderr.decode()[-2000:]
    return json.loads(run.stdout.decode().rpartition("RESULT")[2])


def merged(version: str, raw: bytes) -> dict[str, Any]:
    """The cloud-config that modules see if a datasource holds ``raw`` as user-data."""
    code = "result = merged(sys.stdin.buffer.read())"
    config: dict[str, Any] = run_in(version, code, raw)
    config.pop("merge_how", None)
    return config
