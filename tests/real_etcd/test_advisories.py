"""What imagegen.etcd.advisories says that etcd does, done by real etcd."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from imagegen.etcd.advisories import CRL_IGNORED
from imagegen.etcd.variables import Version
from tests.conftest import EXAMPLES, require_program

from .lab import Member, Pair, lab_of, require_lab
from .test_renewal import CLIENTS, Cluster

pytestmark = pytest.mark.etcd

_MODULES = (Path(__file__).parent / "upstream/3.5/go.mod").read_text()
#: The upstream 3.5 of these tests goes by its full version.
UPSTREAM_3_5 = re.findall(r"go\.etcd\.io/etcd/server/v3 v(\S+)", _MODULES)[0]
HTTP_PORT = 2378


@pytest.mark.parametrize("etcd", ["3.5", UPSTREAM_3_5, "3.6", "3.7"])
def test_a_list_that_the_port_for_grpc_may_ignore(etcd, tmp_path):
    """What revoke says of GHSA-3wh4-j44w-pg92 is what members do that start with the list."""
    require_lab(etcd)
    program = require_program(f"etcd-{etcd}")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    version = said.stdout.split()[2]
    folder = tmp_path / "build"
    folder.mkdir()
    (folder / "c.yaml").write_text(
        (EXAMPLES / "smallest.yaml").read_text()
        + CLIENTS
        + f'etcd:\n  version: "{version}"\n  settings:\n'
        + f'    {CRL_IGNORED.setting}: "https://0.0.0.0:{HTTP_PORT}"\n'
    )
    cluster = Cluster(folder, None)  # type: ignore[arg-type]  # until it runs
    cluster.imagegen("build", "c.yaml")
    revoked, reader = tmp_path / "client/backup", tmp_path / "client/reader"
    (folder / "out/small/client").rename(revoked.parent)
    told = cluster.imagegen("certs", "revoke", "c.yaml", "--client", "backup")
    cluster.imagegen("build", "c.yaml", "--force")
    with lab_of(folder / "out/small", etcd, tmp_path / "lab") as cluster.lab:
        assert cluster.try_as(str(reader))
        assert asks_for_health(cluster, reader)
        assert not asks_for_health(cluster, revoked)
        ignored = Version.parse(version) < Version(3, 5, 32)
        assert cluster.try_as(str(revoked)) is ignored
        assert (CRL_IGNORED.name in told) is ignored


def asks_for_health(cluster: Cluster, credential: Path) -> bool:
    """Whether a member answers a client at its port for HTTP."""
    member: Member = cluster.lab.members[0]
    pair: Pair = (f"{credential}.pem", f"{credential}-key.pem")
    url = f"https://{urlsplit(member.client_url).hostname}:{HTTP_PORT}/health"
    said = member.curl(url, ca=member.settings["ETCD_TRUSTED_CA_FILE"], credential=pair)
    return '"health":"true"' in said.stdout
