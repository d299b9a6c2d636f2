"""imagegen certs: what is signed, kept, listed and written; on real etcd in tests/real_etcd."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from cryptography import x509

from imagegen.base.problems import ImagegenError, Problem, Severity
from imagegen.build import output
from imagegen.build.load import LoadedSpec, load_spec
from imagegen.build.options import Options
from imagegen.build.prepare import prepare
from imagegen.day2 import delivery as rollout
from imagegen.day2 import renew as renewal
from imagegen.day2 import revoke as revocation
from imagegen.day2 import rotate_ca as rotation
from imagegen.day2.certificates import clients_of, list_certificates
from imagegen.day2.renew import Request, renew
from imagegen.day2.revoke import revoke
from imagegen.day2.rotate_ca import lets_in, rotate_ca
from imagegen.live.client import Caller, UnreachableError
from imagegen.pki.leaves import Role
from imagegen.pki.model import Pki
from imagegen.pki.pem import certificates_in, crl_der, private_key_in, revoked_in
from imagegen.store import store as store_module
from imagegen.store.store import Store
from tests.cli.test_cli import Run, tree
from tests.conftest import EXAMPLES, NOW, require_program
from tests.first_boot.lab import Authority, Lab
from tests.releases import install_section

LATER = NOW + timedelta(days=1000)
CLIENTS = "\nclients: [{name: backup}, {name: reader, days: 30}]\n"
# Addresses where nobody is, and connections are refused at once.
ONE = (
    "cluster: small\nmembers: [{name: small-1, address: 127.99.0.11}]\nclients: [{name: backup}]\n"
)
LAB = "\npki: {layout: lab}\n"


class Place:
    """An operator's directory with a built cluster."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder = folder
        self.spec = folder / "c.yaml"
        self.spec.write_text(text)
        self.store = Store(folder / "pki", "small")
        prepare(self.loaded, self.options(NOW))

    @property
    def loaded(self) -> LoadedSpec:
        return load_spec(self.spec, now=NOW)

    def options(self, now: Any = LATER, **others: Any) -> Options:
        return Options(now=now, pki=self.folder / "pki", output=self.folder / "out", **others)

    @property
    def pki(self) -> Pki:
        stored = self.store.load()
        assert stored
        return stored.pki

    def script(self, kind: str, member: str = "small-1") -> str:
        return (self.folder / "out/small" / kind / member / "apply.sh").read_text()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    text = (EXAMPLES / "smallest.yaml").read_text().replace("192.0.2.", "127.99.0.")
    return Place(tmp_path, text + CLIENTS)


def leaves(pki: Pki) -> dict[str, Any]:
    """Every leaf's credential by a name."""
    found: dict[str, Any] = {f"client {name}": item for name, item in clients_of(pki).items()}
    for name, member in pki.members.items():
        found |= {f"{name} server": member.server, f"{name} peer": member.peer}
    return found


def changed(before: Pki, after: Pki) -> set[str]:
    old, new = leaves(before), leaves(after)
    return {name for name in new if new[name].certificate_pem != old[name].certificate_pem}


# --- renew ----------------------------------------------------------------------------


def test_all_are_renewed_for_the_same_keys_in_one_generation(place):
    """Each with the names, the issuer and the key it had, and a full life from now."""
    before = place.pki
    done = renew(place.loaded, place.options(), Request())
    after = place.pki
    assert changed(before, after) == set(leaves(after))
    for name, credential in leaves(after).items():
        old = leaves(before)[name]
        assert credential.key_pem == old.key_pem
        [was], [now] = (
            certificates_in(old.certificate_pem),
            certificates_in(credential.certificate_pem),
        )
        assert (now.subject, now.issuer) == (was.subject, was.issuer)
        assert now.public_key() == was.public_key()
        assert now.not_valid_after_utc > was.not_valid_after_utc
        if "client" not in name:
            kind = x509.SubjectAlternativeName
            assert now.extensions.get_extension_for_class(kind) == (
                was.extensions.get_extension_for_class(kind)
            )
    assert (before.ca, before.peer_ca) == (after.ca, after.peer_ca)
    assert {p.name for p in (place.store.path / "generations").iterdir()} == {"1", "2"}
    assert set(done.clients) == {"client", "backup", "reader"}
    assert done.new_keys == ()


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        (Request(members=("small-2",)), {"small-2 server", "small-2 peer"}),
        (Request(clients=("backup",)), {"client backup"}),
        (
            Request(members=("small-3",), clients=("client",)),
            {"small-3 server", "small-3 peer", "client client"},
        ),
        (Request(before=0), {"client reader"}),  # it has ended
        (Request(before=0, members=("small-1",)), set()),
        (Request(before=96, members=("small-1",)), {"small-1 server", "small-1 peer"}),
        (Request(before=94, members=("small-1",)), set()),
    ],
)
def test_only_what_is_asked_for_is_renewed(place, request_, names):
    """By name, and by how soon it ends; leaves are good for 1095 days, of which 1000 are over."""
    before = place.pki
    renew(place.loaded, place.options(), request_)
    assert changed(before, place.pki) == names


def test_new_keys_are_beside_the_script_and_not_in_it(place):
    """0600, in a folder of 0700; without them no key and no old key is left there."""
    before = place.pki
    renew(place.loaded, place.options(), Request(members=("small-1",), new_keys=True))
    after = place.pki
    folder = place.folder / "out/small/renew/small-1"
    files = {path.name: path for path in folder.iterdir()}
    assert set(files) == {"apply.sh", "server-key.pem", "peer-key.pem"}
    assert files["server-key.pem"].read_text() == after.members["small-1"].server.key_pem
    assert after.members["small-1"].server.key_pem != before.members["small-1"].server.key_pem
    modes = {name: stat.S_IMODE(path.stat().st_mode) for name, path in files.items()}
    assert modes == {"apply.sh": 0o700, "server-key.pem": 0o600, "peer-key.pem": 0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "PRIVATE KEY" not in files["apply.sh"].read_text()
    renew(place.loaded, place.options(), Request(before=0))
    assert {path.name for path in folder.iterdir()} == {"apply.sh"}
    assert place.pki.members == after.members


def test_a_dry_run_does_nothing(place):
    """It tells the same plan, to the last line."""
    before = tree(place.folder)
    told: list[Any] = []
    request = Request(clients=("backup",), new_keys=True)
    renew(place.loaded, place.options(), request, announce=told.append, dry_run=True)
    revoke(place.loaded, place.options(), ["backup"], announce=told.append, dry_run=True)
    rotate_ca(place.loaded, place.options(), "peer-ca", announce=told.append, dry_run=True)
    assert tree(place.folder) == before
    assert len(told) == 3
    assert told[0].signed == ("client certificate backup: new key and certificate: renewed",)


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (Request(members=("x",), clients=("y",)), ["x is not in the spec", "y is not in the spec"]),
    ],
)
def test_unknown_names_are_all_told_at_once(place, request_, what):
    before = tree(place.folder)
    with pytest.raises(ImagegenError) as caught:
        renew(place.loaded, place.options(), request_)
    assert [problem.what for problem in caught.value.problems] == what
    assert tree(place.folder) == before


def test_nothing_changes_if_the_new_certificates_would_not_verify(place):
    """A CA that has ended signs nothing that anybody would accept."""
    before = tree(place.folder)
    with pytest.raises(ImagegenError, match="expired"):
        renew(place.loaded, place.options(NOW + timedelta(days=4000)), Request())
    assert tree(place.folder) == before


def test_a_store_that_was_never_built_is_not_made(tmp_path):
    spec = tmp_path / "c.yaml"
    spec.write_text(ONE)
    options = Options(now=NOW, pki=tmp_path / "pki", output=tmp_path / "out")
    with pytest.raises(ImagegenError, match="nothing was ever saved"):
        renew(load_spec(spec, now=NOW), options, Request())
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


@pytest.mark.parametrize("layout", ["", LAB])
def test_scripts_please_shellcheck(tmp_path, layout):
    """All kinds of them, in both layouts."""
    place = Place(tmp_path, ONE + layout)
    renew(place.loaded, place.options(), Request())
    revoke(place.loaded, place.options(), ["backup"])
    rotate_ca(place.loaded, place.options(), None if layout else "client-ca")
    scripts = sorted((tmp_path / "out").rglob("apply.sh"))
    assert {path.parent.parent.name for path in scripts} == {"renew", "revoke", "rotate-ca"}
    for step in (2, 3):
        directory = tmp_path / f"out/small/step-{step}"
        options = place.options()
        rotate_ca(place.loaded, options, None, go_on=True, offline=True, directory=directory)
        scripts.append(directory / "small-1/apply.sh")
    renew(
        place.loaded,
        place.options(),
        Request(new_keys=True, directory=tmp_path / "out/small/keys"),
    )
    scripts.append(tmp_path / "out/small/keys/small-1/apply.sh")
    said = subprocess.run(
        [require_program("shellcheck"), *map(str, scripts)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.stdout == ""


# --- list -----------------------------------------------------------------------------


def test_the_list_names_every_certificate(place):
    """Two CAs, two of each member, one of each client; with days left, and warnings under 30."""
    listed = list_certificates(place.pki, now=NOW + timedelta(days=5))
    assert [item.name for item in listed] == [
        *("client-ca", "peer-ca"),
        *(f"small-{n} {role}" for n in (1, 2, 3) for role in ("server", "peer")),
        *("client", "backup", "reader"),
    ]
    days = {item.owner: item.days_left for item in listed}
    assert (days["client-ca"], days["small-1"], days["reader"]) == (3645, 1090, 25)
    [problem] = [problem for item in listed for problem in item.problems()]
    assert (problem.where, problem.severity) == ("reader", Severity.WARNING)
    assert "25 days" in problem.what
    issuers = {item.name: item.issuer for item in listed}
    assert "peer CA" in issuers["small-1 peer"]
    assert "client CA" in issuers["small-1 server"]


def test_the_list_tells_what_the_last_build_has_put_out(tmp_path):
    """By serial; after a renewal the output is behind the store until it is built again."""
    spec = tmp_path / "c.yaml"
    spec.write_text(ONE)

    def listed() -> dict[str, Any]:
        run = Run("certs", "list", spec, "-o", "out", "--json", cwd=tmp_path)
        assert run.status == 0, run.err
        return {f"{item['owner']} {item['role']}": item for item in json.loads(run.out)}

    assert Run("build", spec, cwd=tmp_path).status == 0
    before = listed()
    assert {name for name, item in before.items() if item["in_output"]} == {
        *("client-ca ca", "small-1 server", "small-1 peer", "client client", "backup client"),
    }
    assert before["peer-ca ca"]["in_output"] is None  # no file there to compare with
    renewed = Run("certs", "renew", spec, "--client", "backup", cwd=tmp_path)
    assert "sign client certificate backup" in renewed.out
    after = listed()
    changed = [name for name in after if after[name]["serial"] != before[name]["serial"]]
    assert changed == ["backup client"]
    assert after["backup client"]["in_output"] is False
    assert "not in the output" in Run("certs", "list", spec, "-o", "out", cwd=tmp_path).out
    revoked = Run("certs", "revoke", spec, "--client", "backup", cwd=tmp_path)
    assert revoked.status == 0, revoked.err
    assert listed()["backup client"]["revoked"]
    built = Run("build", spec, "--force", cwd=tmp_path)
    assert built.status == 0, built.err
    assert listed()["backup client"]["in_output"] is True
    assert Run("check", "out", cwd=tmp_path).status == 0


# --- revoke ---------------------------------------------------------------------------


def serials_of(pki: Pki, name: str) -> set[int]:
    return {certificates_in(clients_of(pki)[name].certificate_pem)[0].serial_number}


def test_all_certificates_of_a_revoked_client_are_on_the_list(place):
    """Those before its renewal too; the list is DER for etcd, and the CA's signature is on it."""
    first = serials_of(place.pki, "backup")
    renew(place.loaded, place.options(), Request(clients=("backup",)))
    both = first | serials_of(place.pki, "backup")
    assert len(both) == 2
    revoke(place.loaded, place.options(), ["backup"])
    crl_pem = place.pki.crl_pem
    assert crl_pem
    assert set(revoked_in(crl_pem)) == both
    crl = x509.load_der_x509_crl(crl_der(crl_pem))
    [authority] = certificates_in(place.pki.ca.certificate_pem)
    assert crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    assert crl.next_update_utc == authority.not_valid_after_utc


def test_the_list_only_grows(place):
    """By a second client, through a renewal, and not at all by the same one again."""
    revoke(place.loaded, place.options(), ["backup"])
    one = set(revoked_in(place.pki.crl_pem))
    dates = dict(revoked_in(place.pki.crl_pem))
    again = revoke(place.loaded, place.options(LATER + timedelta(days=1)), ["backup"])
    assert again.added == {}
    revoke(place.loaded, place.options(LATER + timedelta(days=2)), ["reader"])
    two = revoked_in(place.pki.crl_pem)
    assert set(two) == one | serials_of(place.pki, "reader")
    assert all(two[serial] == since for serial, since in dates.items())
    renew(place.loaded, place.options(), Request())
    assert revoked_in(place.pki.crl_pem) == two


def test_a_build_signs_a_new_certificate_with_a_new_key(place):
    """For the revoked client alone, and once; the list goes into the seed with its setting."""
    revoke(place.loaded, place.options(), ["backup"])
    before = place.pki
    prepared = prepare(place.loaded, place.options(NOW))
    after = place.pki
    assert changed(before, after) == {"client backup"}
    assert after.clients["backup"].key_pem != before.clients["backup"].key_pem
    assert "revoked" in prepared.notes[0]
    assert prepare(place.loaded, place.options(NOW)).notes == ()
    assert after.crl_pem == before.crl_pem


@pytest.mark.parametrize(
    ("etcd", "words"),
    [
        ("etcd: {version: 3.5.16, ", "etcd 3.5.16 ignores the list"),
        ("etcd: {version: '3.6', ", "etcd 3.6 before 3.6.13 ignores the list"),
        (f"{install_section('3.4.45')}etcd: {{", "etcd 3.4.45 ignores the list"),
        (f"{install_section('3.5.31')}etcd: {{", "etcd 3.5.31 ignores the list"),
        (f"{install_section('3.5.32')}etcd: {{", None),
        (f"{install_section('3.7.0')}etcd: {{", None),
    ],
)
def test_a_revocation_without_effect_says_so(place, etcd, words):
    """Where gRPC has a port of its own, etcd before the fix looks at no list there."""
    text = place.spec.read_text()
    setting = "ETCD_LISTEN_CLIENT_HTTP_URLS"

    def warnings(settings: str) -> list[Problem]:
        place.spec.write_text(f"{text}{etcd}settings: {{{settings}}}}}\n")
        plan = revoke(place.loaded, place.options(NOW), ["backup"])
        return [problem for problem in plan.warnings if "address" not in problem.what]

    assert warnings("ETCD_LOG_LEVEL: warn") == []
    found = warnings(f'{setting}: "https://0.0.0.0:2378"')
    assert len(found) == bool(words)
    for problem in found:
        assert (problem.where, problem.severity) == (setting, Severity.WARNING)
        assert words in problem.what
        assert "GHSA-3wh4-j44w-pg92" in problem.what
        package = "unless its package has the fix" in problem.what
        assert package == ("release" not in etcd)
        assert problem.hint.startswith("run etcd 3.")


def test_a_client_that_left_the_spec_can_be_revoked_and_stays_out(place):
    """What the store still has somebody may still use; no new one is signed."""
    place.spec.write_text(place.spec.read_text().replace("{name: backup}, ", ""))
    before = serials_of(place.pki, "backup")
    revoke(place.loaded, place.options(), ["backup"])
    assert set(revoked_in(place.pki.crl_pem)) == before
    prepare(place.loaded, place.options(NOW))
    assert serials_of(place.pki, "backup") == before


def test_who_cannot_be_revoked(place):
    """A name nobody has; and not beside a list of the operator's own."""
    with pytest.raises(ImagegenError, match="nobody has no certificate"):
        revoke(place.loaded, place.options(), ["nobody"])
    text = "\netcd: {settings: {ETCD_CLIENT_CRL_FILE: /etc/my.der}}\n"
    place.spec.write_text(place.spec.read_text() + text)
    with pytest.raises(ImagegenError, match="a list of your own"):
        revoke(place.loaded, place.options(), ["backup"])
    assert place.pki.crl_pem is None


def test_a_damaged_list_is_never_taken_for_an_empty_one(place):
    revoke(place.loaded, place.options(), ["backup"])
    (place.store.path / "client-crl.pem").write_text("-----BEGIN X509 CRL-----\n")
    with pytest.raises(ImagegenError, match="is not a revocation list"):
        place.store.load()


# --- rotate-ca ------------------------------------------------------------------------


@pytest.mark.parametrize(("layout", "name"), [("", "client-ca"), ("", "peer-ca"), (LAB, "ca")])
def test_a_rotation_by_its_steps(tmp_path, layout, name):
    """Who signs stands first in the CA's file; at every step a build changes nothing."""
    place = Place(tmp_path, ONE + layout)

    def step(**options: Any) -> tuple[int | None, list[int], bool]:
        done = rotate_ca(place.loaded, place.options(NOW), name, offline=True, **options)
        pki = place.pki
        ca = pki.peer_ca if name == "peer-ca" else pki.ca
        [leaf, *_] = certificates_in(
            (
                pki.members["small-1"].peer if name == "peer-ca" else pki.members["small-1"].server
            ).certificate_pem
        )
        trusted = certificates_in(ca.certificate_pem)
        leaf.verify_directly_issued_by(trusted[0])
        assert ca.key_pem
        assert private_key_in(ca.key_pem).public_key() == trusted[0].public_key()
        assert prepare(place.loaded, place.options(NOW)).notes == ()
        assert place.pki == pki
        return done.step, [item.serial_number for item in trusted], done.moved

    old = certificates_in(
        (place.pki.peer_ca if name == "peer-ca" else place.pki.ca).certificate_pem
    )[0]
    first, (signer, new), moved = step()
    assert (first, signer, moved) == (1, old.serial_number, True)
    assert step() == (1, [signer, new], False)
    assert step(go_on=True) == (2, [new, old.serial_number], True)
    assert step() == (2, [new, old.serial_number], False)
    assert "put_ca" not in place.script("rotate-ca")
    assert step(go_on=True) == (3, [new], True)
    assert step(go_on=True) == (None, [new], True)
    assert place.pki.rotation is None


def test_a_rotation_signs_the_list_anew(place):
    """Who was revoked under the old CA stays on it."""
    revoke(place.loaded, place.options(NOW), ["backup"])
    before = revoked_in(place.pki.crl_pem)
    for go_on in (False, True):
        rotate_ca(place.loaded, place.options(NOW), "client-ca", go_on=go_on, offline=True)
    assert before.items() <= revoked_in(place.pki.crl_pem).items()
    crl = x509.load_der_x509_crl(crl_der(place.pki.crl_pem))
    new = certificates_in(place.pki.ca.certificate_pem)[0]
    assert crl.is_signature_valid(new.public_key())


def test_without_the_members_no_step_is_left(tmp_path):
    """Nobody answers: the state stays, and --offline is named."""
    place = Place(tmp_path, ONE)
    rotate_ca(place.loaded, place.options(NOW), "client-ca")
    before = tree(tmp_path)
    with pytest.raises(ImagegenError, match="--offline") as caught:
        rotate_ca(place.loaded, place.options(NOW), None, go_on=True)
    assert "Connection refused" in str(caught.value)
    assert tree(tmp_path) == before


def test_silence_is_no_refusal(tmp_path):
    """A member too busy to answer must not pass for one that refuses the old CA."""
    lab = Lab(tmp_path, size=1)
    [member] = lab.members
    try:
        [running] = lab.form(member).values()
        pki, stranger = member.folder / "pki", Authority(tmp_path / "stranger", "stranger")
        own = Caller(lab.client_ca.path, pki / "server.pem", pki / "server-key.pem", timeout=5)
        foreign = Caller(lab.client_ca.path, *stranger.issue(tmp_path / "stranger/client"))
        assert lets_in(own, member.client_url, Role.SERVER)
        assert not lets_in(foreign, member.client_url, Role.SERVER)
        running.send_signal(signal.SIGSTOP)
        for caller in (own, foreign):
            with pytest.raises(UnreachableError, match="no answer"):
                lets_in(replace(caller, timeout=0.3), member.client_url, Role.SERVER)
        # It is asked more than once.
        timer = threading.Timer(0.5, running.send_signal, [signal.SIGCONT])
        timer.start()
        assert not lets_in(replace(foreign, timeout=0.4), member.client_url, Role.SERVER)
        timer.join()
    finally:
        lab.close()


def test_rotations_that_cannot_be(place):
    """None to go on with, none named, two at a time."""
    for name, go_on, what in ((None, True, "no rotation"), (None, False, "which CA")):
        with pytest.raises(ImagegenError, match=what):
            rotate_ca(place.loaded, place.options(), name, go_on=go_on)
    rotate_ca(place.loaded, place.options(), "peer-ca")
    with pytest.raises(ImagegenError, match="peer-ca is being rotated"):
        rotate_ca(place.loaded, place.options(), "client-ca")


# --- kill -9 --------------------------------------------------------------------------

TRACED = {
    module.__file__ for module in (renewal, revocation, rotation, rollout, output, store_module)
}


def lines_of(action: Callable[[], object], stop: int = 0) -> int:
    """Run in a child that kills itself before the stop-th line; how many there were if it ends."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        count = 0

        def trace(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal count
            if frame.f_code.co_filename not in TRACED:
                return None
            if event == "line":
                count += 1
                if count == stop:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        try:
            sys.settrace(trace)
            action()
            sys.settrace(None)
            os.write(theirs, str(count).encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(theirs)
    with os.fdopen(ours, "rb") as answer:
        said = answer.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) if stop else os.WEXITSTATUS(status) == 0
    return int(said or 0)


ACTIONS: dict[str, Callable[[Place], object]] = {
    "renew": lambda place: renew(place.loaded, place.options(), Request(new_keys=True)),
    "revoke": lambda place: revoke(place.loaded, place.options(), ["backup"]),
    "rotate-ca": lambda place: rotate_ca(place.loaded, place.options(), "peer-ca"),
    "rotate-ca --next": lambda place: rotate_ca(
        place.loaded, place.options(), "peer-ca", go_on=True, offline=True
    ),
}


@pytest.mark.parametrize("command", ACTIONS)
def test_killed_anywhere_it_leaves_old_or_new(tmp_path, command):
    """The store has all of it or nothing, the scripts are whole, and another run completes it."""
    (tmp_path / "template").mkdir()
    template = Place(tmp_path / "template", ONE)
    if command.endswith("--next"):
        rotate_ca(template.loaded, template.options(NOW), "peer-ca")
    old = template.pki
    kind = command.split()[0]

    def copied(name: str) -> Place:
        place = Place.__new__(Place)
        place.folder = tmp_path / name
        shutil.copytree(template.folder, place.folder, symlinks=True)
        place.spec, place.store = place.folder / "c.yaml", Store(place.folder / "pki", "small")
        return place

    whole = copied("whole")
    lines = lines_of(lambda: ACTIONS[command](whole))
    assert whole.pki != old
    seen = set()
    for stop in range(3, lines, lines // 24):
        place = copied(str(stop))
        lines_of(lambda place=place: ACTIONS[command](place), stop)
        pki = place.pki
        is_old = pki == old
        seen.add(is_old)
        if not is_old:
            new_is_whole(command, old, pki)
        script = place.folder / "out/small" / kind / "small-1/apply.sh"
        assert not script.exists() or script.read_text().endswith('say "done"\n')
        if not is_old and kind == "rotate-ca":
            rotate_ca(place.loaded, place.options(), None)
            assert place.pki == pki
            assert f"step {pki.rotation.step}" in script.read_text()
        else:
            ACTIONS[command](place)
            assert script.exists()
    assert seen == {True, False}


def new_is_whole(command: str, old: Pki, new: Pki) -> None:
    if command == "renew":
        assert changed(old, new) == set(leaves(new))
    elif command == "revoke":
        assert set(revoked_in(new.crl_pem)) == serials_of(old, "backup")
        assert replace(new, crl_pem=None) == old
    else:
        assert new.rotation
        assert new.rotation.step == (2 if "--next" in command else 1)
