"""Both ways of the benchmark do the same work, and what they cost can be drawn."""

import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from imagegen.media.iso_reader import read_seed
from imagegen.pki.pem import describe
from tests.conftest import require_program

from .__main__ import IMAGEGEN, LOOP, PROGRAMS, measure_stages
from .plot import plot
from .work import write_input, write_specs


def contents(image: Path) -> tuple[dict[str, object], dict[str, str]]:
    """A seed's documents as loaded, and the files of its user-data by their paths."""
    seed = read_seed(image.read_bytes())
    documents = {file.name: yaml.safe_load(file.content) for file in seed.files}
    files = {file["path"]: file["content"] for file in documents["user-data"]["write_files"]}
    return documents, files


@pytest.mark.parametrize("layout", ["separate", "lab"])
def test_the_loop_makes_what_imagegen_makes(tmp_path, layout):
    """The same files on the seed and in user-data, certificates for the same names and uses."""
    for program in PROGRAMS:
        require_program(program)
    [spec] = write_specs(tmp_path / "specs", clusters=1, members=1, layout=layout)
    write_input(tmp_path / "input", [spec])
    subprocess.run([LOOP, tmp_path / "input", tmp_path / "loop"], check=True, capture_output=True)
    subprocess.run(
        [*IMAGEGEN, "build", spec, "--output", tmp_path / "out", "--pki", tmp_path / "pki"],
        check=True,
        capture_output=True,
    )
    theirs, their_files = contents(tmp_path / "loop/fleet-000/fleet-000-11/seed.iso")
    ours, our_files = contents(tmp_path / "out/fleet-000/members/fleet-000-11/seed.iso")
    assert theirs.keys() == ours.keys()
    assert theirs["network-config"] == ours["network-config"]
    assert theirs["user-data"]["runcmd"] == ours["user-data"]["runcmd"]
    assert their_files.keys() == our_files.keys()
    program = "/usr/local/lib/imagegen/firstboot"
    assert their_files[program] == our_files[program]
    certificates = [path for path, text in our_files.items() if "BEGIN CERTIFICATE" in text]
    assert len(certificates) == (2 if layout == "lab" else 4)
    for path in certificates:
        both = (their_files[path], our_files[path])
        names = [set(describe(text).sans) for text in both]
        assert names[0] == names[1], path
        [uses, our_uses] = [
            {
                use
                for extension in x509.load_pem_x509_certificate(text.encode()).extensions
                if isinstance(extension.value, x509.ExtendedKeyUsage)
                for use in extension.value
            }
            for text in both
        ]
        assert uses == our_uses, path
    keys = [path for path, text in our_files.items() if "PRIVATE KEY" in text]
    assert keys
    assert all("PRIVATE KEY" in their_files[path] for path in keys)


def test_every_stage_takes_time(tmp_path):
    """Stages are measured on clusters after the first, which compiles templates."""
    assert all(milliseconds > 0 for milliseconds in measure_stages(tmp_path, clusters=2).values())


def test_the_picture_is_well_formed():
    """A bar for each way, the longest for the slowest of its group."""
    cost = {"seconds": 0.3}
    ways = ("imagegen_per_member", "imagegen_jobs_per_member", "imagegen_on_disk_per_member")
    report = {
        "one_cluster": {
            "5 members, layout separate": {
                "imagegen": cost, "imagegen_on_disk": cost, "loop": {"seconds": 0.2}
            }
        },
        "fleet": {key: {"seconds": 0.002} for key in ways}
        | {"members": 1000, "loop_members_measured": 20, "imagegen_jobs": {"jobs": 2}}
        | {"loop_per_member": {"seconds": 0.05}},
    }  # fmt: skip
    picture = ET.fromstring(plot(report))
    bars = [e for e in picture.iter("{http://www.w3.org/2000/svg}rect") if e.get("x")]
    assert len(bars) == 7
    assert max(bars[3:], key=lambda bar: int(bar.get("width"))) is bars[-1]
