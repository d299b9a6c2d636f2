"""The distributions that members run, and which etcd each of them ships."""

from __future__ import annotations

from collections.abc import Mapping

from imagegen.etcd.variables import Version

#: The etcd each supported release ships, which decides what settings it knows
#: (packages.debian.org, packages.ubuntu.com; 22.04 and older ship 3.3). Debian 14 is what
#: testing is now: it may yet get a newer etcd, which `etcd.version` then says.
DISTRIBUTIONS: Mapping[str, str] = {
    "debian-12": "3.4.23",
    "debian-13": "3.5.16",
    "debian-14": "3.5.30",
    "ubuntu-24.04": "3.4.30",
    "ubuntu-25.10": "3.5.16",
    "ubuntu-26.04": "3.5.16",
}
#: Where a distribution says which fixes its packages of etcd have.
TRACKERS: Mapping[str, str] = {
    "debian": "https://security-tracker.debian.org/tracker/source-package/etcd",
    "ubuntu": "https://ubuntu.com/security/cves?package=etcd",
}
#: Releases whose own etcd is older than 3.4, the oldest that imagegen supports.
TOO_OLD: Mapping[str, str] = {
    "debian-11": "3.3.25",
    "ubuntu-20.04": "3.2.26",
    "ubuntu-22.04": "3.3.25",
}
#: Those of them whose Python (3.9, 3.8) is also too old, for the first-boot program.
TOO_OLD_FOR_ANY = ("debian-11", "ubuntu-20.04")


def shipped_etcd(distribution: str | None) -> Version:
    """The etcd in a distribution's own packages; Debian 12's, the oldest, if none is named."""
    return Version.parse(DISTRIBUTIONS.get(distribution or "", DISTRIBUTIONS["debian-12"]))
