"""User-data alone, encoded for wherever it goes, and presets for platforms by name.

A preset says in what form a platform takes user-data, up to what size, and
who can read it there. No platform here but Nutanix takes meta-data from us:
the instance-id is the platform's own, and so is the network. Where a platform
takes a seed ISO, that is what its preset makes, for a seed carries both.

What decides between the encodings:

* A platform that takes base64 anyway gets gzip inside it; its size is a third.
* Where the usual client encodes a file itself, it gets the file plain: twice
  encoded, cloud-init ignores it. Azure has room for that.
* So has Google Compute Engine. Base64 there (``generic --encoding gzip+base64``)
  would need a second key, user-data-encoding=base64, or cloud-init ignores it.
* DigitalOcean takes plain text only (its API's ``user_data``: "must be plain text").
* Hetzner takes text, and the guest undoes base64 (cloud-init, DataSourceHetzner).
* Xen Orchestra's form replaces ``{name}`` and ``%`` in what is pasted there
  (vatesfr/terraform-provider-xenorchestra#227), and gives each machine meta-data
  of its own (``createCloudInitConfigDrive`` in xen-orchestra's xapi): the CD
  drive takes the seed as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from imagegen.documents.names import SEED
from imagegen.documents.render import NodeDocuments
from imagegen.media.encodings import Encoding, encoded
from imagegen.media.nocloud import build_seed
from imagegen.targets.payload import Limit, Options, Payload, Readers, Target

ENDINGS = {
    Encoding.PLAIN: "",
    Encoding.BASE64: ".b64",
    Encoding.GZIP: ".gz",
    Encoding.GZIP_BASE64: ".gz.b64",
}

#: For clouds: there, a disk that brings the keys has to be made first.
NO_DISK = "; where no disk can be made of keys.iso: --secrets external"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How one platform takes user-data; see :class:`~imagegen.targets.payload.Target`."""

    name: str
    encoding: Encoding
    limit: Limit | None
    readers: Readers
    attach: str
    source: str
    unverified: str
    files: Callable[[NodeDocuments, bytes], Mapping[str, bytes]] | None = None

    def target(self) -> Target:
        """The target for this platform."""
        return Target(
            name=self.name,
            makes=f"members/NAME/{self.name}/, user-data as the platform takes it",
            encoding=self.encoding,
            limit=self.limit,
            readers=self.readers,
            attach=self.attach,
            source=self.source,
            package=partial(package, preset=self),
            unverified=self.unverified,
        )


def package(documents: NodeDocuments, options: Options, *, preset: Preset | None = None) -> Payload:
    """User-data in the preset's encoding, or in that of the options."""
    encoding = preset.encoding if preset else options.encoding
    limit = preset.limit if preset else None
    if preset is None and options.limit:
        limit = Limit(bytes=options.limit, of="user-data as it is sent")
    data = encoded(documents.user_data.encode(), encoding)
    name = preset.name if preset else "generic"
    files: Mapping[str, bytes] = {f"user-data{ENDINGS[encoding]}": data}
    if preset and preset.files:
        files = preset.files(documents, data)
    return Payload(
        files={f"{documents.folder}/{name}/{file}": content for file, content in files.items()},
        counted=len(data),
        limit=limit,
    )


def package_seed(documents: NodeDocuments, options: Options, *, name: str) -> Payload:  # noqa: ARG001
    """A NoCloud seed ISO, for a CD drive."""
    seed = build_seed(
        documents.files(), bundle=documents.bundle, when=documents.cluster.identity.created
    )
    return Payload(files={f"{documents.folder}/{name}/{SEED}": seed})


def _oci_metadata(documents: NodeDocuments, data: bytes) -> dict[str, bytes]:  # noqa: ARG001
    """The ``metadata`` attribute of LaunchInstance, as the CLI's --metadata reads it."""
    return {"metadata.json": json.dumps({"user_data": data.decode()}).encode() + b"\n"}


def _nutanix_cloud_init(documents: NodeDocuments, data: bytes) -> dict[str, bytes]:
    """The ``cloud_init`` object of ``guest_customization``; its meta_data is a config drive's."""
    member = documents.member
    meta_data = {"uuid": member.instance_id, "hostname": member.name, "name": member.name}
    meta = encoded(json.dumps(meta_data).encode(), Encoding.BASE64)
    value = {"meta_data": meta.decode(), "user_data": data.decode()}
    return {"cloud_init.json": json.dumps(value).encode() + b"\n"}


PRESETS = (
    Preset(
        name="gce",
        encoding=Encoding.PLAIN,
        limit=Limit(bytes=256 * 1024, of="one metadata value"),
        readers=Readers.GUEST,
        attach="gcloud compute instances create NAME"
        " --metadata-from-file user-data=members/NAME/gce/user-data" + NO_DISK,
        source="https://cloud.google.com/compute/docs/reference/rest/v1/instances",
        unverified="never run there",
    ),
    Preset(
        name="azure",
        encoding=Encoding.PLAIN,
        # Its error speaks of 87,380 characters of base64, which are 65,535 bytes.
        limit=Limit(bytes=65_535, of="custom data before base64"),
        # Custom data comes on a provisioning disc, but the metadata service has handed it
        # out too (MicrosoftDocs/azure-docs#30370), and Microsoft says: no secrets in it.
        readers=Readers.GUEST,
        attach="az vm create --custom-data members/NAME/azure/user-data (or customData in a"
        " template, encoded by it: loadFileAsBase64, filebase64)" + NO_DISK,
        source="https://learn.microsoft.com/en-us/azure/virtual-machines/custom-data",
        unverified="whether today's metadata service still hands custom data to any process;"
        " never run there",
    ),
    Preset(
        name="hetzner",
        encoding=Encoding.GZIP_BASE64,
        limit=Limit(bytes=32 * 1024, of="user_data"),
        readers=Readers.GUEST,
        attach="hcloud server create --name NAME"
        " --user-data-from-file members/NAME/hetzner/user-data.gz.b64" + NO_DISK,
        source="https://docs.hetzner.cloud/reference/cloud#servers-create-a-server",
        unverified="never run there",
    ),
    Preset(
        name="digitalocean",
        encoding=Encoding.PLAIN,
        limit=Limit(bytes=64 * 1024, of="user_data"),
        readers=Readers.GUEST,
        attach="doctl compute droplet create NAME"
        " --user-data-file members/NAME/digitalocean/user-data" + NO_DISK,
        source="https://docs.digitalocean.com/reference/api/digitalocean/#operation/droplets_create",
        unverified="never run there",
    ),
    Preset(
        name="oci",
        encoding=Encoding.GZIP_BASE64,
        limit=Limit(bytes=32_000, of="metadata and extendedMetadata, SSH keys there included"),
        readers=Readers.GUEST,
        attach="oci compute instance launch --display-name NAME"
        " --metadata file://members/NAME/oci/metadata.json" + NO_DISK,
        source="https://docs.oracle.com/en-us/iaas/Content/Compute/Tasks/updatinginstancemetada.htm",
        unverified="never run there",
        files=_oci_metadata,
    ),
    Preset(
        name="cloudstack",
        encoding=Encoding.GZIP_BASE64,
        limit=Limit(bytes=32 * 1024, of="userdata in base64 (vm.userdata.max.length, its default)"),
        readers=Readers.GUEST,
        attach="parameter userdata of deployVirtualMachine, sent by POST:"
        " members/NAME/cloudstack/user-data.gz.b64" + NO_DISK,
        source="https://cloudstack.apache.org/api/apidocs-4.20/apis/deployVirtualMachine.html",
        unverified="never run there",
    ),
    Preset(
        name="nutanix",
        encoding=Encoding.GZIP_BASE64,
        limit=Limit(bytes=32_000, of="user_data in base64"),
        readers=Readers.ROOT,
        attach="guest_customization.cloud_init of the v3 API's vms:"
        " members/NAME/nutanix/cloud_init.json (or, without its limit, target config-drive as CD)",
        source="https://www.nutanix.dev/api_references/prism-central-v3/",
        unverified="the limit: the v3 API documents 128,000 characters, the hypervisor is said to"
        " enforce 32 KB (cluster-api-provider-nutanix#408), of what is not said; never run there",
        files=_nutanix_cloud_init,
    ),
    Preset(
        name="multipass",
        encoding=Encoding.PLAIN,
        limit=None,
        readers=Readers.ROOT,
        attach="multipass launch --name NAME --cloud-init members/NAME/multipass/user-data",
        source="https://documentation.ubuntu.com/multipass/latest/reference/command-line-interface/launch/",
        unverified="Multipass parses it and writes it anew, with additions of its own; never run"
        " there",
    ),
)


def _seed_target(name: str, attach: str, source: str, unverified: str) -> Target:
    return Target(
        name=name,
        makes=f"members/NAME/{name}/seed.iso, a disk image labelled cidata",
        encoding="ISO 9660",
        carries_bundle=True,
        attach=attach,
        source=source,
        package=partial(package_seed, name=name),
        unverified=unverified,
    )


TARGETS = (
    Target(
        name="generic",
        makes="members/NAME/generic/, user-data in the encoding of --encoding",
        encoding="as --encoding says",
        readers=Readers.GUEST,
        attach="give each member's file in generic/ to the platform as user-data",
        source="https://docs.cloud-init.io/en/latest/explanation/format.html",
        package=package,
        unverified="who can read user-data there",
    ),
    *(preset.target() for preset in PRESETS),
    _seed_target(
        "xcp-ng",
        attach="put each member's xcp-ng/seed.iso into an ISO storage repository, and into its"
        " machine's CD drive: xe vm-cd-add",
        source="https://docs.xcp-ng.org/storage/#iso-sr",
        unverified="never run there",
    ),
    _seed_target(
        "hyper-v",
        attach="Add-VMDvdDrive -VMName NAME -Path seed.iso (that of members/NAME/hyper-v)",
        source="https://learn.microsoft.com/en-us/powershell/module/hyper-v/add-vmdvddrive",
        unverified="never run there",
    ),
)
