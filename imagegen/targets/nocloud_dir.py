"""NoCloud documents as plain files: for a web server or bucket, or for Packer's cd_files.

cloud-init fetches ``meta-data``, ``user-data`` and ``vendor-data`` below the
URL it is told, by the machine's SMBIOS serial number or by its kernel's command
line; without a vendor-data file it tries for long (docs.cloud-init.io,
reference/datasources/nocloud).

The network is up before it can fetch anything, by DHCP. Where it fetches
``network-config`` too (24.3 and later, but not on Ubuntu 22.04 and 24.04) it
fails to rename a card that is in use, and says so. So a folder to be fetched
has an empty one, and DHCP has to hand out the members' addresses.
"""

from __future__ import annotations

from imagegen.base.problems import ImagegenError
from imagegen.documents.render import NodeDocuments
from imagegen.targets.payload import Options, Payload, Readers, Target


def package(documents: NodeDocuments, options: Options) -> Payload:
    """The plain documents, and how to point a machine at them if the URL is known.

    Raises:
        ImagegenError: they are to be fetched, by a machine with a static network.
    """
    name = documents.member.name
    files = documents.files() | {"vendor-data": b""}
    if options.seed_url:
        network = documents.cluster.spec.network
        if network and not network.dhcp:
            raise ImagegenError(
                "a machine that fetches its documents has its network by DHCP already",
                where=f"{name}: target nocloud-dir",
                hint="write `network: {dhcp: true}`, and have DHCP hand out the members' addresses",
            )
        base = f"{options.seed_url.rstrip('/')}/{name}/"
        files["network-config"] = b""
        files["boot-arguments"] = _boot_arguments(base).encode()
    return Payload(files={f"nocloud-dir/{name}/{file}": data for file, data in files.items()})


def _boot_arguments(base: str) -> str:
    return f"""\
# One of these points the machine at {base}
# An arm64 machine without UEFI has no SMBIOS: it takes the kernel command line alone.
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
        attach="put each folder in nocloud-dir on a disc; or build with --seed-url, serve it, and"
        " boot each machine with one of its boot-arguments",
        source="https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html",
        package=package,
    ),
)
