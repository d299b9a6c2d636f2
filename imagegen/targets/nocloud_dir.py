"""NoCloud documents as plain files: for a web server or bucket, or for Packer's cd_files.

cloud-init fetches ``meta-data``, ``user-data`` and ``vendor-data`` below the
URL it is told, and from 24.3 on ``network-config`` (not on Ubuntu 22.04 and
24.04, which patch that out); without a vendor-data file it tries for long. It
is told by the machine's SMBIOS serial number or by its kernel's command line
(docs.cloud-init.io, reference/datasources/nocloud).
"""

from __future__ import annotations

from imagegen.payload import Options, Payload, Readers, Target
from imagegen.render import NodeDocuments


def package(documents: NodeDocuments, options: Options) -> Payload:
    """The plain documents, and how to point a machine at them if the URL is known."""
    name = documents.member.name
    files = documents.files() | {"vendor-data": b""}
    if options.seed_url:
        base = f"{options.seed_url.rstrip('/')}/{name}/"
        files["boot-arguments"] = _boot_arguments(base).encode()
    return Payload(files={f"nocloud-dir/{name}/{file}": data for file, data in files.items()})


def _boot_arguments(base: str) -> str:
    return f"""\
# One of these points the machine at {base}
# cloud-init 23.2 and later, QEMU's option (SMBIOS serial number):
-smbios type=1,serial=ds=nocloud;s={base}
# cloud-init 23.2 and later, kernel command line (quote the ; in GRUB):
ds=nocloud;s={base}
# cloud-init before 23.2, such as Debian 12's 22.4, takes a URL only under the older name:
-smbios type=1,serial=ds=nocloud-net;s={base}
ds=nocloud-net;s={base}
"""


TARGETS = (
    Target(
        name="nocloud-dir",
        makes="nocloud-dir/NAME/, plain documents to serve over HTTP or to put on a disc",
        encoding="plain",
        readers=Readers.NETWORK,
        attach="serve the folder nocloud-dir, and boot each machine with one of its boot-arguments"
        " (made with --seed-url)",
        source="https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html",
        package=package,
    ),
)
