"""Release archives in upstream's layout, of the tests' real binaries, and a web that has them."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from tests.conftest import ROOT, require_program


def elf(machine: int = 62) -> bytes:
    """The header of a program for a machine (elf.h), and nothing that could run."""
    return b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HHI", 2, machine, 1) + bytes(40)


def archive(
    folder: Path, version: str, programs: Mapping[str, bytes], architecture: str = "amd64"
) -> Path:
    """An archive named and laid out as upstream's (scripts/build-binary.sh)."""
    top = f"etcd-v{version}-linux-{architecture}"
    path = folder / f"{top}.tar.gz"
    with (
        gzip.open(path, "wb", compresslevel=1) as packed,
        tarfile.open(fileobj=packed, mode="w") as made,
    ):
        for name, content in {"README.md": b"# etcd\n", **programs}.items():
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size, entry.mode = len(content), 0o755 if name in programs else 0o644
            made.addfile(entry, io.BytesIO(content))
    return path


def real_archive(folder: Path, minor: str) -> tuple[Path, str]:
    """One with a real etcd and etcdctl, etcdutl where it is built as well, and its version."""
    paths = {name: Path(require_program(f"{name}-{minor}")) for name in ("etcd", "etcdctl")}
    if etcdutl := shutil.which(f"etcdutl-{minor}"):
        paths["etcdutl"] = Path(etcdutl)
    said = subprocess.run([paths["etcd"], "--version"], capture_output=True, text=True, check=True)
    version = said.stdout.split()[2]
    return archive(folder, version, {n: p.read_bytes() for n, p in paths.items()}), version


def install_section(version: str) -> str:
    """What a spec says to have a release installed; no archive has that digest."""
    archive = f"{{version: {version}, sha256: {{amd64: {'a' * 64}}}}}"
    return f"install: {{mode: release, release: {archive}}}\n"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def upstream(minor: str) -> str:
    """The version of a minor that .ci/tools builds: what its go.mod requires, such as 3.5.35."""
    text = (ROOT / "tests/real_etcd/upstream" / minor / "go.mod").read_text()
    [version] = re.findall(r"^\s*go\.etcd\.io/etcd/server/v3 v(\S+)", text, re.MULTILINE)
    return str(version)
