"""``imagegen packer export``: the Packer files."""

from typing import TYPE_CHECKING

from imagegen.cli.options import DirectoryArgument

if TYPE_CHECKING:
    pass


def export(
    directory: DirectoryArgument,
) -> None:
    """Copy the Packer files; their README.md says how to build with them."""
    from imagegen.build.golden import export_packer_files

    for path in export_packer_files(directory):
        print(path)
