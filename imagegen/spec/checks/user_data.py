"""The operator's own cloud-config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagegen.spec.kinds import Path, Reader
from imagegen.spec.model import APPENDED, Spec

#: Keys of cloud-config that decide who a member is, or that its image must not change.
NOT_EXTRA: Mapping[str, str] = {
    **dict.fromkeys(
        ("hostname", "fqdn", "preserve_hostname"), "a machine is called as its member is"
    ),
    "manage_etc_hosts": "list names for /etc/hosts under `hosts`",
    "network": "user-data cannot set up the network; see the spec's `network`",
}


def check_extra(spec: Spec, reader: Reader) -> None:
    """extra_user_data leaves what is set elsewhere alone."""
    extra = spec.extra_user_data or {}
    taken = {"apt": spec.install and spec.install.apt, "ntp": spec.ntp}
    for key, value in extra.items():
        path: Path = ("extra_user_data", key)
        if key in NOT_EXTRA:
            reader.error(path, "is ours to set", NOT_EXTRA[key])
        elif taken.get(key):
            setting_name = "install.apt" if key == "apt" else key
            reader.error(path, f"{setting_name} sets it already", "keep one of the two")
        elif key in APPENDED and not isinstance(value, list):
            reader.error(path, "must be a list", "it is appended to ours")
        elif "PRIVATE KEY-----" in str(value):
            reader.warning(
                path, "holds a private key", "it travels in user-data wherever that goes"
            )
    for index, file in enumerate(_listed(extra.get("write_files"))):
        if not isinstance(file, dict) or not isinstance(file.get("path"), str):
            reader.error(
                ("extra_user_data", "write_files", index),
                "must be a mapping with a path that is text",
                'such as {path: /etc/motd, content: "..."}',
            )
    named = {user.name for user in spec.users or () if user}
    for index, user in enumerate(_listed(extra.get("users"))):
        name = user.get("name") if isinstance(user, dict) else user
        if isinstance(name, str) and name in named:
            reader.error(
                ("extra_user_data", "users", index), f"{name} is in `users` already", "keep one"
            )


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
