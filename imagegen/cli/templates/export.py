"""``imagegen templates export``: the templates behind the documents."""

from typing import TYPE_CHECKING

from imagegen.cli.options import DirectoryArgument

if TYPE_CHECKING:
    pass


def export(
    directory: DirectoryArgument,
) -> None:
    """Copy the shipped templates, to replace one by one with build --templates DIR."""
    from imagegen.documents.templates import export_templates

    for path in export_templates(directory):
        print(path)
    print(f"keep those you change; then: imagegen build SPEC --templates {directory}")
