"""``imagegen build``: every member's documents and seed."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagegen.base.problems import ImagegenError, Problem
from imagegen.cli.built import next_steps, report_built
from imagegen.cli.inputs import parse_now, read_passphrase
from imagegen.cli.messages import say_problems, with_progress
from imagegen.cli.options import (
    OUT,
    PKI,
    NowOption,
    OutputOption,
    PassphraseOption,
    PkiOption,
    ReissueOption,
    SecretsOption,
    TargetOption,
    TemplatesOption,
)
from imagegen.cli.work_tree import warn_in_work_tree
from imagegen.media.encodings import Encoding

if TYPE_CHECKING:
    from imagegen.build.load import LoadedSpec
    from imagegen.build.options import Options, Start


def build(
    specs: Annotated[list[Path], typer.Argument(metavar="SPEC...", help="Cluster specs.")],
    output: OutputOption = OUT,
    pki: PkiOption = PKI,
    target: TargetOption = None,
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
    reissue: ReissueOption = False,
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
    from imagegen.build.build import Failed, build_fleet
    from imagegen.build.load import load_specs
    from imagegen.build.options import USUAL_TARGETS, Options
    from imagegen.targets import load_target, payload

    options = Options(
        now=parse_now(now),
        output=output,
        pki=pki,
        targets=tuple(dict.fromkeys(target or USUAL_TARGETS)),
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
    from imagegen.build.options import Start
    from imagegen.build.snapshot_file import read_snapshot

    if path is None:
        raise ImagegenError("--bump-revision needs --from-snapshot")
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
