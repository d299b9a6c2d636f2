"""What images are made of."""

from dataclasses import replace

from .architecture import ARCHITECTURES, ARM64
from .host import Mirror
from .image import RELEASES, TRIXIE

ARCHIVE, SECURITY = "http://mirror.test/debian/", "http://mirror.test/debian-security/"


def test_an_expired_index_is_taken_where_the_host_takes_it() -> None:
    """Testing's expires in a week: on a mirror that keeps to one day nothing else installs."""
    still, moving = (
        Mirror(ARCHIVE, SECURITY, stands_still=standing).sources("forky")
        for standing in (True, False)
    )
    assert still[0] == f"deb [check-valid-until=no] {ARCHIVE} forky main"
    assert moving == (f"deb {ARCHIVE} forky main", f"deb {SECURITY} forky-security main")


def test_an_image_is_of_one_architecture() -> None:
    """Each has a name of its own in the cache, and the kernel that such machines start."""
    arm = replace(TRIXIE, architecture=ARM64)
    assert "linux-image-cloud-arm64" in arm.packages
    assert "linux-image-cloud-arm64" not in TRIXIE.packages
    releases = [
        replace(release, architecture=architecture)
        for release in RELEASES.values()
        for architecture in ARCHITECTURES.values()
    ]
    assert len({release.name for release in releases}) == len(releases)
