"""What a golden image is made with: the Packer files, and the seed its build boots from.

The seed is node-neutral: a user for the length of the build and a key that
opens nothing else. Members' documents never meet the image before its first
boot as a member.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from types import SimpleNamespace

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from imagegen.base.shipped import export, shipped_directory
from imagegen.documents.guest_files import ETCD_SERVICE
from imagegen.documents.templates import Templates

#: Who builds; the Packer files and their clean-up know the name.
BUILD_USER = "packer"
#: Where install-etcd.sh finds the unit a release needs; gone with the build's shutdown.
UNIT = "/run/imagegen/etcd.service"


def write_build_seed(directory: Path) -> list[Path]:
    """Write user-data, meta-data and a throw-away key; returns what was written.

    The key is ed25519: OpenSSH since 8.8 refuses the SHA-1 signatures that old
    Packers make with RSA keys (hashicorp/packer#10074).

    Raises:
        ImagegenError: a file of the seed is already there, or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    # The very unit that members get which install a release themselves.
    unit = Templates().render("etcd.service.j2", guest=SimpleNamespace(**ETCD_SERVICE))
    user_data = {
        "write_files": [{"path": UNIT, "permissions": "0644", "content": unit}],
        "users": [
            {
                "name": BUILD_USER,
                "shell": "/bin/bash",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "lock_passwd": True,
                "ssh_authorized_keys": [f"{public} imagegen-build"],
            }
        ],
        # Whatever the image does at a first boot is the member's to do.
        "package_update": False,
        "package_upgrade": False,
    }
    meta_data = {
        # A later build of the same disk is another instance.
        "instance-id": f"imagegen-build-{secrets.token_hex(8)}",
        "local-hostname": "imagegen-build",
    }
    files = {
        "user-data": f"#cloud-config\n{yaml.safe_dump(user_data, sort_keys=False)}".encode(),
        "meta-data": yaml.safe_dump(meta_data, sort_keys=False).encode(),
        "id_ed25519": private,
    }
    return export(files, directory, private=True)


def export_packer_files(directory: Path) -> list[Path]:
    """Copy the shipped Packer files into ``directory``; returns what was written.

    Raises:
        ImagegenError: one of them is already there, or cannot be written.
    """
    source = shipped_directory("packer")
    # By suffix: in a checkout a build may have left keys and images here.
    files = {
        str(path.relative_to(source)): path.read_bytes()
        for path in sorted(source.rglob("*"))
        if path.suffix in (".hcl", ".sh", ".md")
    }
    return export(files, directory)
