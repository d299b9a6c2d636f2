"""Files that bring etcd, pinned by their digests: upstream's archives, and packages.

A digest says that a file is the one that was meant, not that it is a good one:
it is taken from a file that the operator has and trusts, never from beside the
file it is for. Whether an archive is what its name says is looked at as well.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagegen.base.problems import ImagegenError, Problem, raise_errors
from imagegen.etcd.versions import EXAMPLE_RELEASE
from imagegen.media.iso_writer import DISC_LIMIT
from imagegen.spec.model import ARCHIVE_NAME, PACKAGE_NAME, Spec

#: ``e_machine`` of an ELF header (elf.h).
MACHINES = {62: "amd64", 183: "arm64"}
#: Debian's packages are archives of `ar`.
PACKAGE_MAGIC = b"!<arch>\ndebian-binary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """A file whose name and content agree."""

    path: Path
    sha256: str
    #: Of a release archive; None for a package.
    version: str | None
    architecture: str


def pin(path: Path) -> Pinned:
    """Look at a local file and compute its digest.

    Raises:
        ImagegenError: it cannot be read, or is not what its name says.
    """
    archive, package = ARCHIVE_NAME.fullmatch(path.name), PACKAGE_NAME.fullmatch(path.name)
    match = archive or package
    if match is None:
        raise ImagegenError(
            "is called neither like an upstream archive nor like a package",
            where=str(path),
            hint=f"such as etcd-v{EXAMPLE_RELEASE}-linux-amd64.tar.gz, "
            "etcd-server_3.5.16-4_amd64.deb",
        )
    digest = digest_of(path)
    if archive:
        _check_archive(path, archive[2])
    else:
        _check_package(path)
    return Pinned(
        path=path,
        sha256=digest,
        version=archive[1] if archive else None,
        architecture=match[match.re.groups],
    )


def digest_of(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        ImagegenError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImagegenError(f"cannot read: {error.strerror}", where=str(path)) from None


def _check_archive(path: Path, architecture: str) -> None:
    """Whether the archive is whole, laid out as upstream's, and its etcd for that CPU."""
    top = path.name.removesuffix(".tar.gz")
    found: dict[str, bytes] = {}
    try:
        with gzip.open(path) as packed, tarfile.open(fileobj=packed, mode="r|") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file:
                    found[member.name] = file.read(20)
            while packed.read(1 << 20):
                pass  # to its own checksum, which is at the end
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ImagegenError(
            f"is damaged, or no archive: {error}", where=str(path), hint="fetch it again"
        ) from None
    for program in ("etcd", "etcdctl"):
        header = found.get(f"{top}/{program}", b"")
        if not header:
            raise ImagegenError(
                f"holds no {top}/{program}", where=str(path), hint="use upstream's own archive"
            )
        made_for = ""
        if len(header) == 20 and header.startswith(b"\x7fELF"):
            (number,) = struct.unpack_from("<H", header, 18)
            made_for = MACHINES.get(number, f"machine {number}")
        if made_for != architecture:
            raise ImagegenError(
                f"its {program} is made for {made_for or 'no CPU'}, not {architecture}",
                where=str(path),
                hint="keep the name upstream has given it",
            )


def _check_package(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(PACKAGE_MAGIC)) != PACKAGE_MAGIC:
            raise ImagegenError("is no Debian package", where=str(path), hint="fetch it again")


def install_section(files: Sequence[Pinned], *, bundle: bool) -> str:
    """What to write into a spec for these files.

    Raises:
        ImagegenError: they are not of one release.
    """
    versions = {file.version for file in files}
    if len(versions) > 1:
        listed = ", ".join(sorted(version or "packages" for version in versions))
        raise ImagegenError(f"these are not of one release: {listed}", hint="one at a time")
    [version] = versions
    if version is None or bundle:
        lines = [f'    - {{file: {f.path}, sha256: "{f.sha256}"}}\n' for f in files]
        return "install:\n  mode: bundle\n  bundle:\n" + "".join(lines)
    digests = "".join(f'      {file.architecture}: "{file.sha256}"\n' for file in files)
    return (
        f'install:\n  mode: release\n  release:\n    version: "{version}"\n    sha256:\n{digests}'
    )


# --- what travels on a seed -----------------------------------------------------------


def bundle_problems(spec: Spec, directory: Path) -> Iterator[Problem]:
    """Why the files of a bundle will not do; ``directory`` is the spec's own."""
    size = 0
    for index, file in enumerate(spec.install.bundled):
        where = f"install.bundle[{index}]"
        try:
            pinned = pin(directory / file.file)
        except ImagegenError as error:
            [problem] = error.problems
            yield Problem(where=f"{where}: {problem.where}", what=problem.what, hint=problem.hint)
            continue
        size += pinned.path.stat().st_size
        if pinned.sha256 != file.sha256:
            yield Problem(
                where=f"{where}: {pinned.path}",
                what=f"has SHA-256 {pinned.sha256}, the spec says {file.sha256}",
                hint="it is another file than was meant; if this is the right one, pin it anew",
            )
    if size > DISC_LIMIT:
        yield Problem(
            where="install.bundle",
            what=f"{size:,} bytes, and a seed has room for {DISC_LIMIT:,}",
            hint="only what the members' architecture needs, or mode release with a mirror",
        )


def read_bundle(spec: Spec, directory: Path) -> Mapping[str, bytes]:
    """The files of a bundle by their names on a seed; those that were pinned and no others.

    Raises:
        ProblemsError: one of them has changed since it was looked at.
    """
    files = {file.name: file for file in spec.install.bundled}
    read = {name: (directory / file.file).read_bytes() for name, file in files.items()}
    raise_errors(
        Problem(where=str(directory / file.file), what="has changed while it was read")
        for name, file in files.items()
        if hashlib.sha256(read[name]).hexdigest() != file.sha256
    )
    return read
