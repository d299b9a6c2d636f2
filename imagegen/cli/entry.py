"""The command line: the one caller of the library that prints, exits and reads the clock.

Whatever a command needs is imported inside it: ``imagegen --help`` and shell
completion should not wait for cryptography and Jinja. Annotations are evaluated here
and in ``commands``: as text, Typer would compile each of them twice in every run.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagegen._version import __version__
from imagegen.base.problems import ImagegenError, Problem, Severity
from imagegen.cli import status, upgrade
from imagegen.cli.certs import app as certs_app
from imagegen.cli.member import app as member_app
from imagegen.cli.shared import (
    NowOption,
    PassphraseOption,
    PkiOption,
    SecretsOption,
    TemplatesOption,
    parse_now,
    read_passphrase,
    say_problems,
    with_progress,
)
from imagegen.cli.snapshot import app as snapshot_app
from imagegen.media.encodings import Encoding, encoded

if TYPE_CHECKING:
    from imagegen.build.build import Built, LoadedSpec, Options, Start
    from imagegen.build.changes import Change

app = typer.Typer(
    name="imagegen",
    help="From one cluster spec to N self-configuring etcd members.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its tracebacks show local variables: keys among them
    rich_markup_mode=None,
)
templates_app = typer.Typer(help="The templates behind the documents.", no_args_is_help=True)
app.add_typer(templates_app, name="templates")
packer_app = typer.Typer(help="Golden images that a seed finishes.", no_args_is_help=True)
app.add_typer(packer_app, name="packer")
app.add_typer(certs_app, name="certs")
app.add_typer(member_app, name="member")
app.add_typer(snapshot_app, name="snapshot")


class Document(StrEnum):
    """The documents a member boots with."""

    USER_DATA = "user-data"
    META_DATA = "meta-data"
    NETWORK_CONFIG = "network-config"


def main() -> None:
    """Run the command line; the entry point of the ``imagegen`` program."""
    try:
        app()
    except ImagegenError as error:
        say_problems(error.problems)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted; what was finished is in place, nothing else", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has left; Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"imagegen {__version__}")
        raise typer.Exit


@app.callback()
def imagegen(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """From one cluster spec to N self-configuring etcd members."""


@app.command()
def init(
    cluster: Annotated[str, typer.Option(help="The cluster's name.")] = "icc-etcd",
    members: Annotated[int, typer.Option(help="How many members; 3 or 5.", min=1)] = 5,
    first_address: Annotated[
        str, typer.Option(help="Address of the first member; the others follow.")
    ] = "10.240.0.11",
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File to write; - for standard output.")
    ] = Path("cluster.yaml"),
) -> None:
    """Write a commented spec to edit."""
    from imagegen.spec.starter import starter_spec

    text = starter_spec(cluster=cluster, members=members, first_address=first_address)
    if str(output) == "-":
        print(text, end="")
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ImagegenError(
            "already exists", where=str(output), hint="choose another file with -o"
        ) from None
    except OSError as error:
        raise ImagegenError(f"cannot write: {error.strerror}", where=str(output)) from None
    print(f"{output}: edit it, then: imagegen build {output}")


@app.command()
def build(
    specs: Annotated[list[Path], typer.Argument(metavar="SPEC...", help="Cluster specs.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Root of the artifacts.")] = Path(
        "out"
    ),
    pki: PkiOption = Path("pki"),
    target: Annotated[
        list[str] | None, typer.Option(help="What to package for; repeatable.")
    ] = None,
    secrets: SecretsOption = None,
    allow_secrets_over_network: Annotated[
        bool,
        typer.Option(
            "--allow-secrets-over-network",
            help="Embed private keys for a target where strangers could read them.",
        ),
    ] = False,
    seed_url: Annotated[
        str | None, typer.Option(help="Where nocloud-dir will be served, such as https://...")
    ] = None,
    encoding: Annotated[Encoding, typer.Option(help="Of target generic.")] = Encoding.PLAIN,
    limit: Annotated[int | None, typer.Option(help="Of target generic, in bytes.", min=1)] = None,
    member: Annotated[list[str] | None, typer.Option(help="Only this member; repeatable.")] = None,
    templates: TemplatesOption = None,
    reissue: Annotated[
        bool,
        typer.Option("--reissue", help="Sign misfitting certificates anew, for the same keys."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace artifacts that differ.")] = False,
    new_cluster: Annotated[
        bool,
        typer.Option("--new-cluster", help="Start over: a new token and store id, the same CA."),
    ] = False,
    from_snapshot: Annotated[
        Path | None,
        typer.Option(help="With --new-cluster: every member begins with this snapshot's data."),
    ] = None,
    bump_revision: Annotated[
        int,
        typer.Option(
            help="Of the snapshot, with etcdutl: raise the revision by so much, and compact.", min=0
        ),
    ] = 0,
    now: NowOption = None,
    jobs: Annotated[int, typer.Option(help="Clusters built at a time.", min=1)] = 1,
    ca_passphrase_file: PassphraseOption = None,
) -> None:
    """Render every member's documents and build its seed."""
    from imagegen.build.build import Failed, Options, build_fleet, load_specs
    from imagegen.targets import load_target, payload

    options = Options(
        now=parse_now(now),
        output=output,
        pki=pki,
        targets=tuple(dict.fromkeys(target or ["nocloud-iso"])),
        payload=payload.Options(seed_url=_checked_url(seed_url), encoding=encoding, limit=limit),
        secrets=secrets,
        allow_secrets_over_network=allow_secrets_over_network,
        members=tuple(dict.fromkeys(member or ())),
        templates=templates,
        reissue=reissue,
        force=force,
        new_cluster=new_cluster,
        passphrase=read_passphrase(ca_passphrase_file),
    )
    for name in options.targets:
        load_target(name)
    loaded = load_specs(specs, options)
    if from_snapshot or bump_revision:
        options = replace(options, start=_start_from(loaded, options, from_snapshot, bump_revision))
    warn_in_work_tree(options.output, options.pki)
    failed = 0
    results = []
    told: set[Problem] = set()
    building = build_fleet(loaded, options, jobs=jobs)
    for result in with_progress(building, len(loaded), "clusters"):
        if isinstance(result, Failed):
            failed += 1
            print(f"{result.path}: not built", file=sys.stderr)
            say_problems(result.error.problems)
        else:
            report_built(result, told)
            told.update(result.warnings)
            results.append(result)
    if results:
        print(next_steps(results, options))
    if failed:
        raise typer.Exit(1)


def _start_from(
    loaded: "list[LoadedSpec]", options: "Options", path: Path | None, bump: int
) -> "Start":
    """The snapshot a new cluster is to begin with."""
    from imagegen.build.build import Start
    from imagegen.build.snapshot_file import read_snapshot

    if path is None:
        raise ImagegenError("--bump-revision: is of --from-snapshot, which is not given")
    if not options.new_cluster or options.members or len(loaded) != 1:
        raise ImagegenError(
            "--from-snapshot makes one whole new cluster",
            hint="give one spec, --new-cluster, and no --member",
        )
    if bump and loaded[0].spec.etcd_version.minor < 5:
        raise ImagegenError(
            "--bump-revision: etcd 3.4 cannot raise the revision of a snapshot",
            hint="if the members run a newer one, say so in the spec (distribution, etcd.version)",
        )
    return Start(snapshot=read_snapshot(path), bump_revision=bump)


def _checked_url(url: str | None) -> str | None:
    from imagegen.spec.words import URL

    if url is not None and not re.fullmatch(str(URL.pattern), url):
        raise ImagegenError(
            f"--seed-url: {url!r} is not {URL.what}", hint="such as https://seeds.example.org/etcd"
        )
    return url


def report_built(built: "Built", told: Collection[Problem]) -> None:
    """What was built: notes and warnings to standard error, a table to standard output.

    What was told of an earlier cluster and names no place is the same for this one.
    """
    from imagegen.cluster.cluster import hex_id

    say_problems(problem for problem in built.warnings if problem not in told)
    for note in built.notes:
        print(f"note: {note}", file=sys.stderr)
    cluster, changes = built.cluster, built.changes
    print(
        f"{cluster.name}: {len(cluster.members)} members, cluster ID "
        f"{hex_id(cluster.cluster_id)}, token {cluster.token}"
    )
    width = max(len(member.name) for member in cluster.members)
    for member in cluster.members:
        print(f"  {member.name:<{width}}  {hex_id(member.member_id):>16}  {member.client_url}")
    if not changes:
        print(f"{built.directory}: up to date, nothing written")
        return
    for verb, paths in (("changed", changes.changed), ("removed", changes.removed)):
        for path in paths:
            print(f"  {verb}: {path}")
    print(
        f"{built.directory}: {len(changes.added)} files added, {len(changes.changed)} changed, "
        f"{len(changes.removed)} removed"
    )


def next_steps(results: "list[Built]", options: "Options") -> str:
    """What the operator does now."""
    from imagegen.build.build import BUNDLE_DISC, secrets_for
    from imagegen.documents import guest
    from imagegen.targets import load_target

    chosen = [load_target(name) for name in options.targets]
    attach = "; ".join(target.attach for target in chosen)
    spec = results[0].cluster.spec
    ways = {secrets_for(target, spec, options) for target in chosen}
    if "split" in ways:
        attach += "; each needs its keys.iso too, which the scripts attach: first boot waits for it"
    if "external" in ways:
        attach += (
            f"; put the files of keys/ into {spec.pki.directory} on the member, or first boot waits"
        )
    one = results[0]
    if one.cluster.identity.restored and options.start:
        attach += "; " + snapshot_step(options.start, one)
    if spec.install.bundled and not all(target.carries_bundle for target in chosen):
        attach += f"; attach {one.directory / BUNDLE_DISC} too, or first boot waits for it"
    client = one.directory / "client"
    fleet = "" if len(results) == 1 else "  (the same for each cluster)\n"
    return f"""
Next:
{fleet}  1. {attach}.
  2. Power the machines on, in any order. Each installs and starts etcd by itself.
  3. Watch: each console says `imagegen: NAME: healthy`, and so does
     {guest.RESULT} on the member. From here:
       (cd {client} && set -a && . ./etcdctl.env && etcdctl member list -w table)
     The member IDs must be those above.
  4. Detach and delete what holds private keys: {_holders(ways)}.
  Keep {options.pki / one.cluster.name}, and a backup of it: only that cannot be rebuilt."""


def snapshot_step(start: "Start", built: "Built") -> str:
    """How the snapshot reaches the members."""
    from imagegen.build.snapshot_file import DISC
    from imagegen.documents import guest

    if start.snapshot.fits_a_disc:
        return f"attach {built.directory / DISC} to every machine too, or first boot waits for it"
    return (
        f"put {start.snapshot.path} on every machine as {guest.SNAPSHOT}, as root: it is too "
        "large for a disc of ours, and first boot waits for it"
    )


def _holders(ways: set[str]) -> str:
    holders = {"embed": "user-data and the seeds", "split": "keys.iso", "external": "keys/"}
    return ", ".join(holder for way, holder in holders.items() if way in ways)


def warn_in_work_tree(*roots: Path) -> None:
    """Warn where git would take what is about to be written, keys and all."""
    git = shutil.which("git")
    if not git:
        return
    for root in roots:
        # git knows its work tree by this name only; a loop of links is for later to find.
        place = Path(os.path.realpath(root))
        above = [path for path in place.parents if path.is_dir()] or [place]
        if "GIT_DIR" not in os.environ and not any((path / ".git").exists() for path in above):
            continue  # spares two programs
        # Asked of a file below the root, so that a rule for `out/` counts.
        answer = subprocess.run(  # noqa: S603  # git by its full path, arguments of our own
            [git, "check-ignore", "--quiet", str(place / "key")],
            cwd=above[0],
            capture_output=True,
            check=False,
        )
        if answer.returncode == 1:  # 0: ignored; 128: no work tree
            say_problems(
                [
                    Problem(
                        where=str(root),
                        what="is inside a git work tree that does not ignore it",
                        hint=f"private keys go there: add `{root.name}/` to .gitignore",
                        severity=Severity.WARNING,
                    )
                ]
            )


_KEY_BLOCK = re.compile(
    r"(-----BEGIN [A-Z ]*PRIVATE KEY-----\n).*?(^ *-----END )", re.DOTALL | re.M
)


@app.command()
def render(
    spec: Annotated[Path, typer.Argument(help="Cluster spec.")],
    member: Annotated[str, typer.Option(help="Which member.")],
    document: Annotated[Document, typer.Option(help="Which document.")] = Document.USER_DATA,
    encoding: Annotated[Encoding, typer.Option(help="How to write it.")] = Encoding.PLAIN,
    secrets: SecretsOption = None,
    pki: PkiOption = Path("pki"),
    templates: TemplatesOption = None,
    show_secrets: Annotated[
        bool, typer.Option("--show-secrets", help="Show private keys on a terminal too.")
    ] = False,
    now: NowOption = None,
    ca_passphrase_file: PassphraseOption = None,
) -> None:
    """Write one member's document to standard output, private keys included."""
    from imagegen.build.build import Options, load_specs, prepare
    from imagegen.documents.render import render_node
    from imagegen.documents.templates import Templates

    options = Options(
        now=parse_now(now),
        pki=pki,
        members=(member,),
        templates=templates,
        passphrase=read_passphrase(ca_passphrase_file),
    )
    [loaded] = load_specs([spec], options)
    warn_in_work_tree(options.pki)
    prepared = prepare(loaded, options)
    say_problems(prepared.warnings)
    for note in prepared.notes:
        print(f"note: {note}", file=sys.stderr)
    chosen = next(m for m in prepared.cluster.members if m.name == member)
    documents = render_node(
        prepared.cluster,
        chosen,
        prepared.pki,
        Templates(templates),
        secrets=secrets or prepared.cluster.spec.secrets or "embed",
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


@app.command()
def check(
    path: Annotated[Path, typer.Argument(metavar="SPEC|OUTPUT-DIR|ISO", help="What to check.")],
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are errors.")] = False,
    now: NowOption = None,
) -> None:
    """Report every problem of a spec, an output directory or a seed ISO."""
    from imagegen.judge.path import check_path

    problems = check_path(path, now=parse_now(now))
    say_problems(problems)
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    warnings = sum(problem.severity is Severity.WARNING for problem in problems)
    print(f"{path}: {errors} errors, {warnings} warnings")
    if errors or (strict and warnings):
        raise typer.Exit(1)


@app.command()
def diff(
    spec: Annotated[Path, typer.Argument(help="Cluster spec.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Root of what was built.")] = Path(
        "out"
    ),
    pki: PkiOption = Path("pki"),
    templates: TemplatesOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    now: NowOption = None,
    ca_passphrase_file: PassphraseOption = None,
) -> None:
    """Show what a build would change, and whether running members would notice."""
    from imagegen.build.build import Options, compare_cluster, load_specs

    options = Options(
        now=parse_now(now),
        output=output,
        pki=pki,
        templates=templates,
        passphrase=read_passphrase(ca_passphrase_file),
    )
    [loaded] = load_specs([spec], options)
    say_problems(loaded.warnings)
    changes, removed = compare_cluster(loaded, options)
    if as_json:
        listed = [change.to_json() for change in changes]
        print(json.dumps({"changes": listed, "removed_members": removed}, indent=2))
        return
    for name in removed:
        print(f"{name}: no longer in the spec; see imagegen member remove")
    alike: dict[Change, list[str]] = {}
    for change in changes:
        alike.setdefault(replace(change, member=""), []).append(change.member)
    for effect in type(changes[0].effect) if changes else ():
        found = [(change, names) for change, names in alike.items() if change.effect is effect]
        if found:
            print(f"A running member: {effect}")
        for change, names in found:
            every = len(names) == len(loaded.spec.members)
            print("\n".join(_change_lines(change, "all" if every else ", ".join(names))))
    if not changes and not removed:
        print(f"{output / loaded.spec.cluster}: a build would change nothing")


def _change_lines(change: "Change", members: str) -> Iterator[str]:
    if "\n" in change.after:
        yield f"  {change.what} ({members})"
        yield from (f"    {line}" for line in change.after.splitlines())
    else:
        arrow = f"{change.before or 'none'} -> {change.after or 'none'}"
        yield f"  {change.what} ({members}): {arrow}"


@app.command()
def inspect(
    iso: Annotated[Path, typer.Argument(metavar="ISO", help="A seed ISO, ours or anyone's.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show what is on a seed, and whether cloud-init would accept it."""
    from imagegen.judge.seed.image import read_image
    from imagegen.judge.seed.inspect import inspect_seed

    report = inspect_seed(read_image(iso), source=str(iso))
    if as_json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        print("\n".join(report.lines()))
    if not report.accepted:
        raise typer.Exit(1)


@app.command()
def targets(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """List what `build --target` packages for, and what each place takes."""
    from imagegen.targets import targets

    listed = targets().values()
    if as_json:
        print(json.dumps([target.to_json() for target in listed], indent=2))
        return
    for target in listed:
        print(f"{target.name}: {target.makes}")
        print(f"  encoding: {target.encoding}; limit: {target.limit or 'none'}")
        print(f"  read by: {target.readers}; private keys by default: {target.secrets}")
        print(f"  source: {target.source}")
        if target.unverified:
            print(f"  unverified: {target.unverified}")


app.command()(status.status)
app.command()(upgrade.upgrade)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the spec, for editors."""
    from imagegen.spec.reference import spec_schema

    print(json.dumps(spec_schema(), indent=2))


@templates_app.command("export")
def templates_export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to.")],
) -> None:
    """Copy the shipped templates, to replace one by one with build --templates DIR."""
    from imagegen.documents.templates import export_templates

    for path in export_templates(directory):
        print(path)
    print(f"keep those you change; then: imagegen build SPEC --templates {directory}")


@app.command()
def pin(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Release archives as upstream names them, or .deb."),
    ],
    bundle: Annotated[
        bool, typer.Option("--bundle", help="The archives are to travel on the seeds.")
    ] = False,
) -> None:
    """Check local files and print the `install` section that pins them by their SHA-256.

    A digest says that a file is the one you have here. That this one is good is
    for you to know: compare it with what its publisher has announced elsewhere.
    """
    from imagegen.base.problems import raise_errors
    from imagegen.build.bundle import Pinned, install_section
    from imagegen.build.bundle import pin as pin_file

    pinned: list[Pinned] = []
    problems: list[Problem] = []
    for path in files:
        try:
            pinned.append(pin_file(path))
        except ImagegenError as error:
            problems += error.problems
    raise_errors(problems)
    print(install_section(pinned, bundle=bundle), end="")


@packer_app.command("export")
def packer_export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to.")],
) -> None:
    """Copy the Packer files; their README.md says how to build with them."""
    from imagegen.build.golden import export_packer_files

    for path in export_packer_files(directory):
        print(path)


@packer_app.command("seed")
def packer_seed(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to.")],
) -> None:
    """Write the seed a Packer build boots from: a user and a throw-away key."""
    from imagegen.build.golden import write_build_seed

    for path in write_build_seed(directory):
        print(path)
