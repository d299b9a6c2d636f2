"""``imagegen render``: one document of one member."""

import re
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from imagegen.base.problems import ImagegenError
from imagegen.cli.inputs import parse_now, read_passphrase
from imagegen.cli.messages import say_notes, say_problems
from imagegen.cli.options import (
    PKI,
    NowOption,
    PassphraseOption,
    PkiOption,
    SecretsOption,
    SpecArgument,
    TemplatesOption,
)
from imagegen.cli.work_tree import warn_in_work_tree
from imagegen.media.encodings import Encoding, encoded

if TYPE_CHECKING:
    pass


class Document(StrEnum):
    """The documents a member boots with."""

    USER_DATA = "user-data"
    META_DATA = "meta-data"
    NETWORK_CONFIG = "network-config"


_KEY_BLOCK = re.compile(
    r"(-----BEGIN [A-Z ]*PRIVATE KEY-----\n).*?(^ *-----END )", re.DOTALL | re.M
)


def render(
    spec: SpecArgument,
    member: Annotated[str, typer.Option(help="Which member.")],
    document: Annotated[Document, typer.Option(help="Which document.")] = Document.USER_DATA,
    encoding: Annotated[Encoding, typer.Option(help="How to write it.")] = Encoding.PLAIN,
    secrets: SecretsOption = None,
    pki: PkiOption = PKI,
    templates: TemplatesOption = None,
    show_secrets: Annotated[
        bool, typer.Option("--show-secrets", help="Show private keys on a terminal too.")
    ] = False,
    now: NowOption = None,
    ca_passphrase_file: PassphraseOption = None,
) -> None:
    """Write one member's document to standard output, private keys included."""
    from imagegen.build.load import load_specs
    from imagegen.build.options import Options, secrets_for
    from imagegen.build.prepare import prepare
    from imagegen.documents.render import render_node
    from imagegen.documents.templates import Templates

    options = Options(
        now=parse_now(now),
        pki=pki,
        members=(member,),
        templates=templates,
        secrets=secrets,
        passphrase=read_passphrase(ca_passphrase_file),
    )
    [loaded] = load_specs([spec], options)
    warn_in_work_tree(options.pki)
    prepared = prepare(loaded, options)
    say_problems(prepared.warnings)
    say_notes(prepared.notes)
    chosen = next(m for m in prepared.cluster.members if m.name == member)
    documents = render_node(
        prepared.cluster,
        chosen,
        prepared.pki,
        Templates(templates),
        secrets=secrets_for(None, prepared.cluster.spec, options),
    )
    data = documents.files()[document]
    holds_keys = b"PRIVATE KEY-----" in data
    if sys.stdout.isatty() and holds_keys and not show_secrets:
        if encoding is not Encoding.PLAIN:
            raise ImagegenError(
                "user-data holds private keys, and encoded they cannot be left out",
                hint="redirect it to a file, or pass --show-secrets",
            )
        data = _KEY_BLOCK.sub(
            r"\1      (not shown; --show-secrets shows it)\n\2", data.decode()
        ).encode()
    sys.stdout.buffer.write(encoded(data, encoding))
    if encoding in (Encoding.BASE64, Encoding.GZIP_BASE64):
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()
