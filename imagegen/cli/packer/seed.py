"""``imagegen packer seed``: what a Packer build boots from."""

from typing import TYPE_CHECKING

from imagegen.cli.options import DirectoryArgument

if TYPE_CHECKING:
    pass


def seed(
    directory: DirectoryArgument,
) -> None:
    """Write the seed a Packer build boots from: a user and a throw-away key."""
    from imagegen.build.golden import write_build_seed

    for path in write_build_seed(directory):
        print(path)
