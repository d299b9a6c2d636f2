#!/usr/bin/python3
"""First boot of one etcd member: from a fresh machine to a healthy member of its cluster.

    firstboot run           imagegen-firstboot.service: install, hand over keys, start, follow
    firstboot start-check   ExecCondition of etcd.service: may etcd start as things are?
    firstboot fetch         for an upgrade: bring a release here, beside the one that runs

All read /etc/imagegen/member.json and keep result.json, which says how far
this member has come. ``run`` is idempotent: at the next boot it continues
where it stopped, until the member is healthy or refused. Standard library
only, Python 3.10 or newer: it runs on the guest, where nothing else is sure.

When an empty data directory may start
======================================

The danger. A member that has lost its disk must not come back under its old
ID: it has forgotten what it acknowledged, and its vote can make a quorum in
which an acknowledged write is gone while every health check is green. etcd
asks its peers whether it was started before, but when none answers it starts.

The rule. With an empty data directory etcd starts only after a majority of
the *other* members has answered, over mutually authenticated TLS, and none of
them knows this member as started. A member knows that of another once the
other's client URLs, which each member publishes as it starts, have reached
it. One answer that knows refuses for good; too few answers wait for ever.

Why it is safe. Say the member was started before. Its publication is then in
the logs of a majority of the cluster, that is of at least n//2 of the n-1
others; a majority of the others is (n-1)//2 + 1. Together these are more than
n-1, so one of those who answer has it. The member itself has forgotten and is
no witness: were it counted, one of the two others would do in a cluster of
three, and that may be the one who was away. Hence the price: a cluster of
three forms once all three are up, one of five once four are.
  * Wiped, all peers down, and a lagging one returns first: it knows, and the
    member is refused; or it does not, and is not enough.
  * Two of three wiped at once: they hear each other, which is too few. The
    third, if it kept its disk, knows both; both are refused.
  * Another cluster, a stranger's certificate: no answer, and the reason says so.

Why it never deadlocks. Nobody waits for another to *start*, only to answer,
and every member answers that has come this far: one that waits here serves its
own answer on its peer port, and etcd serves /members there before it has a
quorum. The gap between closing the port and etcd's opening it is bridged by
asking again. A started etcd goes on answering, and one that dies before it has
a WAL comes back here and answers again.

How long an answer counts. "I wait too" stays true while this member waits, for
it cannot have started meanwhile; it lapses after ANSWER_LIFETIME so that a peer
is asked again once it may have caught up. etcd's answer counts only when it has
stood for SETTLE_TIME: after a restart etcd lists the members while it replays
its log, and for a moment knows of nobody's start.

A member that comes into a running cluster (``initial_cluster_state`` is
existing) has an ID of its own, which the cluster gave it, and begins as a
learner, which has no vote. `imagegen member` gives it the vote only once the
cluster lists it as started, so a member with a vote is known as started by a
majority of those who had one before it. Its rule is the same: no vote may
come back with an empty directory, nor a learner, for the leader counts on
what it had. But only an etcd that runs can be its witness, for there is a
cluster: who waits at this check knows of nothing. A learner keeps nobody
waiting: the majority it must hear is one that etcd needs as well.

What it cannot see. A write acknowledged between this member's first vote and
the arrival of its publication; a cluster of one; a cluster whose disks are all
lost at once. ``bootstrap_until`` refuses the last two after a date.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from pathlib import Path

# Every start of etcd passes through here, so what only a first boot needs (ssl,
# http, subprocess, ...) is imported where it is used, and typing not at all.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Iterator
    from typing import Any

CONFIG = "/etc/imagegen/member.json"
# Of an ExecCondition: 1 to 254 end it there, 255 is a failure that is tried again.
REFUSED, FAILED = 1, 255
ANSWER_TIMEOUT = 10  # seconds; an emulated machine takes some of them for one handshake
ANSWER_LIFETIME = 60
SETTLE_TIME = 10
ASK_EVERY = 2
LINGER = 2 * ASK_EVERY
# What cloud-init keeps of user-data (its paths.py), and a seed that is a directory.
COPIES = ("user-data", "user-data.txt", "user-data.txt.i", "cloud-config.txt", "obj.pkl")


class FailedError(Exception):
    """This boot ends here, with a reason and what the operator can do; the next one tries again."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


class RefusedError(FailedError):
    """This member must not start with what it has, now or at a later boot."""


class LaterError(Exception):
    """Nothing to do until something appears; a path unit waits for it and starts ``run`` again."""

    def __init__(self, reason: str, hint: str, unit: str) -> None:
        super().__init__(reason)
        self.hint, self.unit = hint, unit


class NotYetError(Exception):
    """What we wait for has not happened, and why."""


class Progress:
    """How far this member has come: result.json, and one line for each change."""

    def __init__(self, config: dict[str, Any], step: str) -> None:
        self.config = config
        self.path = Path(config["state_dir"], "result.json")
        self.finished = Path(config["finished"])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.seconds: dict[str, float] = {}
        self.spent_before: dict[str, float] = self.read().get("seconds", {})
        self.step, self.began = step, time.monotonic()

    def enter(self, step: str) -> None:
        """Begin the next step."""
        self._count_seconds()
        self.step, self.began = step, time.monotonic()

    def read(self) -> dict[str, Any]:
        """Read the result so far; that of an earlier instance is none of ours."""
        try:
            result: dict[str, Any] = json.loads(self.path.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return result if result.get("instance_id") == self.config["instance_id"] else {}

    def report(
        self, state: str, reason: str, hint: str = "", *, final: bool = False, **facts: Any
    ) -> None:
        """Record where things stand, and say so if that is a change.

        ``run`` and ``start-check`` share one result. Once it is final it stays,
        except that a healthy member may come to be refused; and from the next
        boot on ``run`` is skipped.
        """
        with Path(self.path.parent, "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self.read()
            overrules = state == "refused" != before.get("state")
            if self.finished.exists() and not overrules:
                return
            self._write(before, {"state": state, "reason": reason, "hint": hint, **facts})
            if final:
                write_whole(self.finished, f"{state}\n")
        if (state, self.step, reason) != tuple(map(before.get, ("state", "step", "reason"))):
            self._say(f"imagegen: {self.config['member']}: {state}: {self.step}: {reason}", hint)

    def _write(self, before: dict[str, Any], news: dict[str, Any]) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._count_seconds()
        identity = ("instance_id", "cluster", "cluster_id", "member", "member_id")
        result = {
            **{key: self.config[key] for key in identity},
            "started_at": before.get("started_at", now),
            "updated_at": now,
            "step": self.step,
            **news,
            "seconds": {**before.get("seconds", {}), **self.seconds},
        }
        write_whole(self.path, json.dumps(result, indent=2) + "\n")

    def _count_seconds(self) -> None:
        """Add up what a step has cost over all boots: a repeated step is quick and says little."""
        spent = self.spent_before.get(self.step, 0) + time.monotonic() - self.began
        self.seconds[self.step] = round(spent, 1)

    def _say(self, line: str, hint: str) -> None:
        text = f"{line} ({hint})\n" if hint else f"{line}\n"
        sys.stderr.write(text)
        try:
            # Without blocking: a serial line nobody reads must not hold up the boot.
            flags = os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK
            with open(os.open(self.config["console"], flags), "wb", buffering=0) as console:  # noqa: PTH123 - Path.open knows no flags
                console.write(text.encode())
        except OSError:
            pass  # the journal has the line


def run(config: dict[str, Any], progress: Progress) -> None:
    """Bring this member from wherever it is to healthy, or learn that it is refused."""
    if progress.finished.exists():
        return
    progress.report("waiting", "first boot continues" if progress.read() else "first boot begins")
    outlive_seed(config)
    steps = {
        "address": wait_for_addresses,
        "clock": wait_for_clock,
        "install": install,
        # Before anything is made in the data directory, or it is made on the root disk.
        # Of what this member does not need, its program has not even the code.
        "data_disk": prepare_data_disk if config["data_disk"] else None,
        "keys": take_keys if config["keys"]["secrets"] != "embed" else None,
        "snapshot": take_snapshot if config["snapshot"] else None,
        "hand_over": hand_over,
        "start": start,
        "follow": follow,
    }
    for name, step in steps.items():
        progress.enter(name)
        try:
            if step:
                step(config, progress)
        except LaterError as later:
            progress.report("waiting", str(later), later.hint)
            systemctl("start", "--no-block", later.unit)
            return


def outlive_seed(config: dict[str, Any]) -> None:
    """Have cloud-init do nothing at a later boot at which the seed is gone.

    It uses the first of two datasources without a look if the second is None,
    as some images list them. Without its seed it would then take this machine
    for a new one, and make new host keys and the default network of it
    (canonical/cloud-init#3777). Of two real ones it looks for each, and stays
    off if it finds none.
    """
    if seed_is_a_disk(config):
        listing = root(config, "etc/cloud/cloud.cfg.d/99-imagegen.cfg")
        write_whole(listing, "datasource_list: [ NoCloud, ConfigDrive ]\n")


def seed_is_a_disk(config: dict[str, Any]) -> bool:
    """Whether cloud-init found its documents on something that can be detached."""
    source = root(config, "var/lib/cloud/instance/datasource")
    found = source.read_text() if source.exists() else ""
    return "DataSourceNoCloud" in found and "/dev/" in found


def root(config: dict[str, Any], path: str) -> Path:
    """A path of the machine's own; a test has a root of its own."""
    return Path(config.get("root", "/"), path)


def wait_for_addresses(config: dict[str, Any], progress: Progress) -> None:
    """Wait until each advertised address is on an interface: etcd binds to them."""
    deadline = time.monotonic() + config["address_timeout"]
    while missing := [address for address in config["addresses"] if not can_bind(address)]:
        if time.monotonic() > deadline:
            fields = [line.split() for line in run_program("ip", "-o", "address")[1].splitlines()]
            found = ", ".join(f"{f[3]} on {f[1]}" for f in fields if f[1] != "lo") or "none"
            raise FailedError(
                f"{', '.join(missing)} is on no interface; found: {found}",
                "compare network-config with the machine's network cards (MAC addresses)",
            )
        progress.report("waiting", f"{', '.join(missing)} is on no interface yet")
        time.sleep(1)


def can_bind(address: str) -> bool:
    """Whether the address is there for use; an IPv6 address still being probed is not."""
    import socket

    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def wait_for_clock(config: dict[str, Any], progress: Progress) -> None:
    """Wait until the certificates are valid: before that every peer refuses them.

    A quiet network may have no NTP; its clocks are usually right anyway, and
    certificates are backdated, so this rarely waits.
    """
    deadline = time.monotonic() + config["clock_timeout"]
    not_before = seconds_of(config["not_before"])
    while time.time() < not_before:
        now = time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime())
        reason = f"the clock says {now}, the certificates begin at {config['not_before']}"
        if time.monotonic() > deadline:
            raise FailedError(reason, "set the clock of this machine or its host, then reboot")
        progress.report("waiting", reason)
        time.sleep(1)


def install(config: dict[str, Any], progress: Progress) -> None:
    """Install the packages, however long the mirror is away, or check what the image brought."""
    import shutil

    wanted = config["install"]
    if wanted["packages"] and not is_installed(wanted["packages"]):
        progress.report("installing", " ".join(wanted["packages"]))
        for pause in backoff(5, 60):
            problem = try_install(wanted["packages"])
            if not problem:
                break
            progress.report("installing", problem, "tried again until it works")
            time.sleep(pause)
    if wanted.get("files"):
        bring(config, progress)
        switch(config)
    if not shutil.which("etcd"):
        raise FailedError(
            f"etcd is not installed{image_record(config)}",
            "use an image that has it, or let the first boot install it",
        )
    if (3, 5, 0) <= version_of_etcd() <= (3, 5, 2):
        raise FailedError(
            f"etcd 3.5.0 to 3.5.2 corrupt data{image_record(config)}", "use 3.5.3 or newer"
        )
    minimum = wanted["minimum_version"]
    if minimum and version_of_etcd() < version(minimum):
        found = ".".join(map(str, version_of_etcd()))
        raise FailedError(
            f"etcd {found} is older than {minimum}{image_record(config)}",
            "use a newer image or release",
        )


def image_record(config: dict[str, Any]) -> str:
    """Name the golden image this machine was made from, for a reason; empty if it was none."""
    try:
        record = json.loads(root(config, "etc/imagegen-image.json").read_text())
        return f" (image of {record['built']}, made with etcd {record['etcd']})"
    except FileNotFoundError:
        return ""
    except (ValueError, KeyError, TypeError) as problem:
        return f" (/etc/imagegen-image.json is no record of an image: {problem!r})"


# part packages: where apt is asked, for names or files

APT_GET = (
    *("apt-get", "--assume-yes", "--no-install-recommends"),
    # Our files may be there before the package; dpkg would stop and ask which to keep.
    *("-o", "Dpkg::Options::=--force-confold"),
    *("-o", "DPkg::Lock::Timeout=600", "-o", "Acquire::Retries=3"),
)


def is_installed(packages: list[str]) -> bool:
    """Whether dpkg has them all, in the version that is pinned (``name=version``) if one is."""
    form = "${db:Status-Status} ${Package} ${Package}=${Version}\n"
    names = [package.partition("=")[0] for package in packages]
    _, listing = run_program("dpkg-query", "--show", f"--showformat={form}", *names)
    lines = [line.split() for line in listing.splitlines() if line.startswith("installed ")]
    return set(packages) <= {word for line in lines for word in line[1:]}


def try_install(packages: list[str]) -> str:
    """Install once, names or files; returns what went wrong, in apt's words.

    Names always after an update: an image's lists are mostly empty, and when they
    are not they are as old as the image, so that an install from them ends in
    a file the mirror no longer has, or in yesterday's security hole. Not of
    translated descriptions, which are two fifths of what would be fetched.
    """
    import re

    updated = ""
    if packages[0][0] != "/":
        _, updated = run_program(*APT_GET, "-o", "Acquire::Languages=none", "update")
    status, installed = run_program(*APT_GET, "install", *packages)
    if status and "dpkg --configure -a" in installed:
        # A power cut in the middle of an earlier try; apt does nothing before this.
        run_program("dpkg", "--force-confold", "--configure", "-a")
        status, installed = run_program(*APT_GET, "install", *packages)
    if not status:
        return ""
    sys.stderr.write(updated + installed)
    lines = [*updated.splitlines(), *installed.splitlines()]
    problems = [line for line in dict.fromkeys(lines) if line.startswith(("E: ", "W: "))]
    told = "; ".join([*problems[:1], *problems[1:][-1:]]) or f"apt-get: exit status {status}"
    # A mirror's address may hold a password.
    return re.sub(r"//[^/\s]*@", "//", told)


# end of part packages


def version_of_etcd(program: str = "etcd") -> tuple[int, ...]:
    """Ask an etcd, that on PATH unless told otherwise."""
    try:
        _, said = run_program(program, "--version")
        said = said.partition("\n")[0]  # etcd Version: 3.4.23
        return version(said.rpartition(" ")[2])
    except (OSError, ValueError) as problem:
        said = getattr(problem, "strerror", None) or f"it says {said!r}"
        raise FailedError(f"{program} --version: {said}", "is it made for this CPU?") from None


def version(text: str) -> tuple[int, ...]:
    """Make ``3.4.23`` or ``3.6.0-rc.1`` comparable."""
    return tuple(int(part) for part in text.partition("-")[0].split("."))


# part release: what only install.mode release and bundle need


def bring(config: dict[str, Any], progress: Progress) -> None:
    """Have what the seed pins, by its digests: a release unpacked, or packages installed."""
    wanted = config["install"]
    machine = os.uname().machine
    cpu = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    ours = [file for file in wanted["files"] if file["architecture"] in (cpu, "all")]
    if cpu not in [file["architecture"] for file in ours]:
        there = ", ".join(file["name"] for file in wanted["files"])
        raise FailedError(f"this machine is {cpu}; there is only {there}", "pin one for it")
    folder = Path(config["state_dir"], "bundle")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if wanted["version"]:
        if not root(config, f"opt/etcd/{wanted['version']}").exists():
            unpack(config, obtain(ours[0], config, progress, folder))
    elif not is_installed([file["package"] for file in ours]):
        files = [str(obtain(file, config, progress, folder)) for file in ours]
        progress.report("installing", " ".join(file["package"] for file in ours))
        if problem := try_install(files):
            raise FailedError(problem, "the bundle has to hold all that the image lacks")
    for file in folder.iterdir():
        file.unlink()


def obtain(file: dict[str, Any], config: dict[str, Any], progress: Progress, folder: Path) -> Path:
    """Copy a file from where it is, however long it is not there, and take no other."""
    path = Path(folder, file["name"])
    source = file.get("url") or f"a disc labelled {' or '.join(config['install']['discs'])}"
    progress.report("installing", f"{path.name} from {source}")
    for pause in backoff(5, 60):
        problem = download(file["url"], path) if "url" in file else copy_from_discs(path, config)
        if not problem:
            break
        progress.report("installing", problem, "tried again until it is there")
        time.sleep(pause)
    if (found := digest_of(path)) != file["sha256"]:
        size = path.stat().st_size
        path.unlink()
        raise FailedError(
            f"{path.name} has SHA-256 {found} ({size} bytes), not {file['sha256']}",
            "put the right one there, then: systemctl start imagegen-firstboot, or reboot",
        )
    return path


def download(url: str, path: Path) -> str:
    """Download once; returns what went wrong."""
    import shutil
    from http.client import HTTPException
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=60) as answer, path.open("wb") as copy:  # noqa: S310 - http or https, by the spec
            shutil.copyfileobj(answer, copy)
            expected = int(answer.headers.get("Content-Length") or copy.tell())
            if copy.tell() != expected:
                return f"{path.name}: cut off after {copy.tell()} of {expected} bytes"
    except (OSError, HTTPException) as problem:
        return f"{path.name}: {problem}"
    return ""


def copy_from_discs(path: Path, config: dict[str, Any]) -> str:
    """Copy from the first disc that has it; or say why there is none."""
    problem = f"{path.name}: no disc labelled {' or '.join(config['install']['discs'])}"
    for label in config["install"]["discs"]:
        disk = root(config, f"dev/disk/by-label/{label}")
        if disk.exists():
            problem = copy_from_disk(disk, path, Path(config["state_dir"], "disk"))
            if not problem:
                break
            problem = f"{path.name}: {problem}"
    return problem


def unpack(config: dict[str, Any], path: Path) -> None:
    """Put a release beside the others, whole or not at all, once its etcd says it is the one."""
    import shutil
    import tarfile
    import zlib

    home = root(config, f"opt/etcd/{config['install']['version']}")
    new = home.with_name(f".{home.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    top = path.name.removesuffix(".tar.gz")
    names = [f"{top}/{name}" for name in ("etcd", "etcdctl", "etcdutl")]
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                if member.name in names and (data := archive.extractfile(member)):
                    program = Path(new, Path(member.name).name)
                    with program.open("wb") as copy:
                        shutil.copyfileobj(data, copy)
                    program.chmod(0o755)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as problem:
        raise FailedError(f"cannot unpack {path.name}: {problem}") from problem
    if not Path(new, "etcd").exists():
        raise FailedError(f"{path.name} holds no {names[0]}")
    if (found := version_of_etcd(f"{new}/etcd")) != version(home.name):
        raise FailedError(f"{path.name} holds etcd {'.'.join(map(str, found))}")
    os.sync()
    new.replace(home)


def switch(config: dict[str, Any]) -> None:
    """Make the release the one that is called, by one rename; and a user for it."""
    import pwd

    release, owner = config["install"]["version"], config["owner"]
    if not release:
        return
    try:
        pwd.getpwnam(owner)
    except KeyError:
        home = ("--home-dir", "/var/lib/etcd", "--shell", "/usr/sbin/nologin")
        status, said = run_program("useradd", "--system", "--user-group", *home, owner)
        if status:
            raise FailedError(f"useradd: {last_line(said)}") from None
    current = root(config, "opt/etcd/current")
    link(current, release)
    for program in current.iterdir():
        link(
            root(config, f"usr/local/bin/{program.name}"),
            f"../../../opt/etcd/current/{program.name}",
        )


def link(path: Path, target: str) -> None:
    """Make a link of that name, in place of whatever has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(path)


# end of part release


# part data_disk: for a disk of the data's own


def prepare_data_disk(config: dict[str, Any], progress: Progress) -> None:
    """Format the disk if it is blank, and mount it. Anything else on it is not ours to touch."""
    disk = config["data_disk"]
    device, label = disk["device"], disk["label"]
    if not Path(device).exists():
        raise FailedError(f"data disk {device} is missing", "attach it, then reboot")
    status, listing = run_program("wipefs", "--no-act", "--json", device)
    if status:
        raise FailedError(f"cannot read {device}: {last_line(listing)}")
    # wipefs prints nothing at all, not even JSON, about a blank device.
    signatures = json.loads(listing)["signatures"] if listing.strip() else []
    if not signatures:
        progress.report("starting", f"formatting {device}")
        status, said = run_program(f"mkfs.{disk['filesystem']}", "-q", "-L", label, device)
        if status:
            raise FailedError(f"cannot format {device}: {last_line(said)}")
    elif [(s["type"], s["label"]) for s in signatures] != [(disk["filesystem"], label)]:
        found = ", ".join(f"{s['type']} {s['label'] or ''}".strip() for s in signatures)
        raise FailedError(
            f"{device} is not blank and no {disk['filesystem']} labelled {label}: {found}",
            f"attach the right disk, or `wipefs --all {device}` if nobody needs what is on it",
        )
    systemctl("start", disk["unit"])


# end of part data_disk


# part keys: for those that come apart from user-data


def take_keys(config: dict[str, Any], progress: Progress) -> None:
    """Wait for the private keys where user-data did not bring them.

    They come on a disk, or somebody puts them in place. No key is taken that
    does not belong to the certificate that came in user-data.
    """
    keys, tls = config["keys"], config["tls"]
    pairs = [(tls[f"{role}_cert"], Path(tls[f"{role}_key"])) for role in ("client", "peer")]
    disk = keys["disk"] and root(config, f"dev/disk/by-label/{keys['disk']}")
    while problem := trouble_with_keys(pairs):
        if disk and disk.exists():
            problem = keys_from_disk(disk, pairs, Path(config["state_dir"], "keys"))
            if not problem:
                hint = "the disk is not needed any more: detach it and delete it, it holds keys"
                progress.report("starting", f"private keys taken from {disk.name}", hint)
                break
        elif disk or not any(key.exists() for _, key in pairs):
            missing = f"disk labelled {disk.name}" if disk else f"{pairs[0][1]}"
            hint = "attach this member's keys.iso" if disk else "put its files there, as root"
            raise LaterError(f"private keys: no {missing} yet", hint, keys["unit"])
        progress.report("waiting", f"private keys: {problem}", "looked at again until they fit")
        time.sleep(ASK_EVERY)
    systemctl("stop", keys["unit"])


def trouble_with_keys(pairs: list[tuple[str, Path]]) -> str:
    """Why a certificate and the key that is to belong to it will not do; empty if all do."""
    import ssl

    for certificate, key in pairs:
        if not key.exists():
            return f"{key} is missing"
        try:
            # Without a password OpenSSL would ask for one.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
        except OSError as problem:  # ssl.SSLError is one
            return f"{key} does not belong to {certificate}: {describe(problem)}"
    return ""


def keys_from_disk(disk: Path, pairs: list[tuple[str, Path]], mount_point: Path) -> str:
    """Copy the keys on a disk into place if they fit; or say why not."""
    mount_point.mkdir(mode=0o700, exist_ok=True)
    status, said = run_program("mount", "-o", "ro", str(disk), str(mount_point))
    if status:
        return f"cannot mount {disk.name}: {last_line(said)}"
    try:
        found = [(certificate, Path(mount_point, key.name)) for certificate, key in pairs]
        problem = trouble_with_keys(found)
        for (_, key), (_, copy) in zip(pairs, () if problem else found, strict=False):
            write_whole(key, copy.read_text(), 0o600)
        return problem
    finally:
        run_program("umount", str(mount_point))


# end of part keys


# part snapshot: for a cluster that begins with one


def take_snapshot(config: dict[str, Any], progress: Progress) -> None:
    """Wait for the snapshot this cluster begins with; no other file will do."""
    snapshot = config["snapshot"]
    if has_data(config):
        return
    file, disk = Path(snapshot["file"]), None
    if snapshot["disk"]:
        disk = root(config, f"dev/disk/by-label/{snapshot['disk']}")
    while not file.exists() or digest_of(file) != snapshot["sha256"]:
        if disk and disk.exists():
            problem = copy_from_disk(disk, file, Path(config["state_dir"], "disk"))
        else:
            problem = f"no disk labelled {disk.name}" if disk else f"no {file}"
        if file.exists() and digest_of(file) != snapshot["sha256"]:
            problem = f"{file} is not the one with SHA-256 {snapshot['sha256']}"
        if problem:
            hint = "attach snapshot.iso" if disk else "put it there, as root"
            progress.report("waiting", f"snapshot: {problem}", f"{hint}; looked for until it fits")
            time.sleep(ASK_EVERY)


# end of part snapshot


def copy_from_disk(disk: Path, file: Path, mount_point: Path) -> str:
    """Copy the snapshot that a disk brings, or say why not."""
    import shutil

    mount_point.mkdir(mode=0o700, exist_ok=True)
    status, said = run_program("mount", "-o", "ro", str(disk), str(mount_point))
    if status:
        return f"cannot mount {disk.name}: {last_line(said)}"
    new = file.with_name(f".{file.name}.new")
    try:
        new.touch(mode=0o600)
        shutil.copyfile(Path(mount_point, file.name), new)
        new.replace(file)
    except OSError as problem:
        return f"cannot copy it from {disk.name}: {problem.strerror}"
    finally:
        run_program("umount", str(mount_point))
    return ""


def digest_of(file: Path) -> str:
    """SHA-256 of a file."""
    import hashlib

    digest = hashlib.sha256()
    with file.open("rb") as data:
        while piece := data.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def has_data(config: dict[str, Any]) -> bool:
    """Whether etcd has ever started here: it has a log then."""
    return any(Path(config["wal_dir"] or Path(config["data_dir"], "member/wal")).glob("*.wal"))


# part snapshot: for a cluster that begins with one


def restore(config: dict[str, Any], progress: Progress) -> None:
    """Make the data directory from the snapshot; its log comes last, and makes it one."""
    import shutil

    snapshot, data = config["snapshot"], Path(config["data_dir"])
    file, made = Path(snapshot["file"]), Path(data, "restored")
    tool = shutil.which("etcdutl") or shutil.which("etcdctl")
    if not tool:
        raise FailedError(
            "neither etcdutl nor etcdctl is installed, to restore the snapshot with",
            "use an image that has it, or add its package to install.packages",
        )
    if not file.exists() or digest_of(file) != snapshot["sha256"]:
        raise FailedError(
            f"{file} is not the snapshot with SHA-256 {snapshot['sha256']}",
            "systemctl start imagegen-firstboot: it takes the right one",
        )
    progress.report("starting", f"restoring {file}")
    for leftover in (made, Path(data, "member")):
        shutil.rmtree(leftover, ignore_errors=True)
    flags = {
        "name": config["member"],
        "initial-cluster": snapshot["initial_cluster"],
        "initial-cluster-token": snapshot["token"],
        "initial-advertise-peer-urls": config["peer_url"],
        "data-dir": made,
    }
    if snapshot["bump_revision"]:
        flags |= {"bump-revision": snapshot["bump_revision"], "mark-compacted": "true"}
    options = [f"--{name}={value}" for name, value in flags.items()]
    status, said = run_program(tool, "snapshot", "restore", str(file), *options)
    if status:
        raise FailedError(f"{Path(tool).name} snapshot restore: {last_line(said)}")
    owner = data.stat().st_uid, data.stat().st_gid
    for folder, _, names in os.walk(made):
        for name in (*names, ""):
            os.chown(Path(folder, name), *owner)
    # It may belong on another disk.
    wal = Path(config["wal_dir"] or Path(data, "member/wal"))
    log = Path(made, "wal")
    Path(made, "member/wal").replace(log)
    Path(made, "member").replace(Path(data, "member"))
    wal.mkdir(mode=0o700, exist_ok=True)
    os.chown(wal, *owner)
    for part in sorted(log.iterdir()):
        new = Path(wal, f"{part.name}.new")
        shutil.copyfile(part, new)
        os.chown(new, *owner)
        new.chmod(0o600)
        os.sync()
        new.replace(Path(wal, part.name))
    shutil.rmtree(made)
    file.unlink()


# end of part snapshot


def hand_over(config: dict[str, Any], progress: Progress) -> None:  # noqa: ARG001 - a step
    """Give etcd its keys and directories; before the package came there was no such user."""
    import pwd

    user = pwd.getpwnam(config["owner"])
    for file in config["owned"]:
        os.chown(file["path"], user.pw_uid, user.pw_gid)
        Path(file["path"]).chmod(int(file["mode"], 8))
    disk = config["data_disk"] or {}
    for directory in filter(None, (disk.get("mount_point"), config["data_dir"], config["wal_dir"])):
        path = Path(directory)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        if path.stat().st_uid != user.pw_uid:
            # All of it: on a data disk that outlived its machine the user may have had another
            # number. From the bottom, so that after a power cut the top still tells.
            for folder, _, files in os.walk(directory, topdown=False):
                for name in (*files, ""):
                    os.chown(Path(folder, name), user.pw_uid, user.pw_gid, follow_symlinks=False)


def start(config: dict[str, Any], progress: Progress) -> None:
    """Open the gate and start etcd, without waiting: it is ready only once there is a quorum."""
    service, gate = config["service"], Path(config["gate"])
    unit = show(
        service, "LoadState", "ActiveState", "UnitFileState", "FragmentPath", "NeedDaemonReload"
    )
    if unit["LoadState"] != "loaded":
        raise FailedError(f"{service}: {unit['LoadState']}", f"see `systemctl status {service}`")
    if unit["UnitFileState"] != "enabled":
        # What `systemctl enable` would do, without its reload of every unit.
        link = root(config, f"etc/systemd/system/multi-user.target.wants/{service}")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(unit["FragmentPath"])
    runs = unit["ActiveState"] in ("active", "activating")
    if runs and gate.exists():
        return
    if unit["NeedDaemonReload"] == "yes":
        systemctl("daemon-reload")
    if unit["ActiveState"] == "failed":
        systemctl("reset-failed", service)
    # Before the start: from then on the start check has something to report itself.
    progress.report("starting", f"{service} is started")
    write_whole(gate, "imagegen: everything etcd needs is in place\n")
    # What ran while the gate was shut was started without our settings.
    systemctl("restart" if runs else "start", "--no-block", service)


def follow(config: dict[str, Any], progress: Progress) -> None:
    """Wait until this member is healthy in its own cluster, or the start check has refused it."""
    service = config["service"]
    for pause in backoff(1, 5):
        if progress.finished.exists():
            return
        try:
            reason = probe(config)
        except NotYetError as problem:
            # While the start check has the word it knows better than we do.
            if progress.read().get("step") != "start-check":
                unit = show(service, "ActiveState", "Result", "ExecMainStatus")
                state = f"{service} is {unit['ActiveState']}"
                if unit["Result"] != "success":
                    state += f" ({unit['Result']}, exit status {unit['ExecMainStatus']})"
                progress.report("starting", f"{state}; {problem}", f"journalctl --unit={service}")
            time.sleep(pause)
        else:
            uptime = float(Path("/proc/uptime").read_text().split()[0])
            hint = ""
            if config["after_boot"] == "scrub":
                progress.enter("scrub")
                scrub(config, progress)
                hint = "detach the seed, it holds keys" if seed_is_a_disk(config) else ""
            progress.report("healthy", reason, hint, final=True, uptime_seconds=uptime)
            return


# part scrub: for after_boot


def scrub(config: dict[str, Any], progress: Progress) -> None:
    """Remove cloud-init's copies of the keys, and turn it off.

    Off first: without its copies it would take the next boot for a first one.
    """
    lock = root(config, "etc/cloud/cloud-init.disabled")
    # It may still be at work, and would write some of them again.
    while not lock.exists() and not root(config, "run/cloud-init/result.json").exists():
        progress.report("starting", "etcd is healthy; cloud-init has to end before its copies go")
        time.sleep(2)
    write_whole(lock, "imagegen: scrubbed after first boot; without this file a new seed is read\n")
    for tree in ("var/lib/cloud", "run/cloud-init"):
        for folder, _, names in os.walk(root(config, tree)):
            for path in (Path(folder, name) for name in names):
                # By name, too: a copy may be compressed.
                if path.is_file() and (path.name in COPIES or b"PRIVATE KEY" in path.read_bytes()):
                    path.unlink()


# end of part scrub


def probe(config: dict[str, Any]) -> str:
    """Ask etcd as a client would, at the advertised address.

    ``/health`` alone would not do: a cluster of one that has nothing to do
    with ours is healthy too.
    """
    url, context = config["client_url"], tls_client(config["tls"], "client")
    health, _ = fetch(f"{url}/health", context)
    if health.get("health") != "true":
        raise NotYetError(f"{url}/health says {health}")
    status, _ = fetch(f"{url}/v3/maintenance/status", context, b"{}")
    if status.get("isLearner"):
        # Of a learner /health is true, and a list of members is refused.
        raise NotYetError(
            "it is a learner, which has no vote until it is in sync and promoted, by "
            f"imagegen member; in cluster {int(status['header']['cluster_id']):x}"
        )
    listing, _ = fetch(f"{url}/v3/cluster/member/list", context, b"{}")
    cluster_id = f"{int(listing['header']['cluster_id']):x}"
    if not same_id(cluster_id, config["cluster_id"]):
        raise FailedError(
            f"etcd at {url} belongs to cluster {cluster_id}, not {config['cluster_id']}",
            f"look at what is in {config['data_dir']}; it was not made from this seed",
        )
    for member in listing["members"]:
        if int(member["ID"]) == int(config["member_id"], 16) and member.get("clientURLs"):
            size = len(listing["members"])
            return f"member {config['member_id']} of cluster {cluster_id}, {size} members"
    raise NotYetError(f"{url} does not list member {config['member_id']} as started")


def start_check(config: dict[str, Any], progress: Progress) -> None:
    """Return if etcd may start as things are; the argument is at the top of this file."""
    disk = config["data_disk"]
    if disk and not Path(disk["mount_point"]).is_mount():
        raise FailedError(f"the data disk is not mounted at {disk['mount_point']}", "attach it")
    if has_data(config):
        return
    hint = f"imagegen member replace {config['member']}"
    if progress.finished.exists():
        raise RefusedError(
            f"{config['data_dir']} is empty, but this machine's member had data", hint
        )
    until = config["bootstrap_until"]
    if until and time.time() > seconds_of(until):
        raise RefusedError(f"{config['data_dir']} is empty after {until}", hint)
    heard = hear_others(config, progress) if config["others"] else "a cluster of one"
    if config["snapshot"]:
        # Only now: a member that has lost its disk must not come back with it.
        restore(config, progress)
    progress.enter("start")
    progress.report("starting", f"etcd may start: {heard}")


def hear_others(config: dict[str, Any], progress: Progress) -> str:
    """Ask the others, and answer them, until a majority of them has been heard."""
    from concurrent.futures import ThreadPoolExecutor

    others, context = config["others"], tls_client(config["tls"], "peer")
    needed = len(others) // 2 + 1
    counted: dict[str, float] = {}
    running_since: dict[str, float] = {}
    trouble = begin_to_answer(config)
    with ThreadPoolExecutor(len(others)) as pool:
        while True:
            asked = time.monotonic()
            answers = list(pool.map(lambda other: ask(other, config, context), others))
            notes = [trouble] if trouble else []
            for other, (kind, note) in zip(others, answers, strict=True):
                name = other["name"]
                notes.append(f"{name}: {note}")
                if kind != "running":
                    running_since.pop(name, None)
                elif asked - running_since.setdefault(name, time.monotonic()) < SETTLE_TIME:
                    continue
                if kind:
                    counted[name] = asked
            recent = [name for name, when in counted.items() if asked - when < ANSWER_LIFETIME]
            if len(recent) >= needed:
                break
            told = f"heard {len(recent)} of the {needed} others needed; {'; '.join(notes)}"
            progress.report("waiting", told)
            time.sleep(ASK_EVERY)
            trouble = trouble and begin_to_answer(config)
    if any(kind == "waiting" for kind, _ in answers):
        # They must hear us too. They would hear etcd, but only once it has settled.
        time.sleep(LINGER)
    return f"heard {', '.join(sorted(recent))}"


def ask(other: dict[str, Any], config: dict[str, Any], context: ssl.SSLContext) -> tuple[str, str]:
    """Ask whether another member knows this one as started.

    The kind of answer is ``waiting`` or ``running`` if it does not, or empty
    if there was none that counts; the note says which and why.
    """
    try:
        said, cluster_id = fetch(f"{other['peer_url']}/members", context)
    except NotYetError as problem:
        return "", str(problem)
    if isinstance(said, dict):  # etcd sends a list
        cluster_id, member_id = said["cluster_id"], said["member_id"]
        if config["initial_cluster_state"] == "existing":
            return "", "waits, so it cannot know"
        if same_id(cluster_id, config["cluster_id"]) and same_id(member_id, other["member_id"]):
            return "waiting", "waits too"
        return "", f"waits, but as member {member_id} of cluster {cluster_id}"
    if not same_id(cluster_id, config["cluster_id"]):
        return "", f"belongs to cluster {cluster_id}, not {config['cluster_id']}"
    # Right after a restart etcd sends null: it has not come to any member in its log yet.
    for member in said or ():
        if member["id"] == int(config["member_id"], 16):
            if not member.get("clientURLs"):
                return "running", "runs, has not seen this member start so far"
            raise RefusedError(
                f"{config['data_dir']} is empty, but {other['name']} has seen this member start",
                f"imagegen member replace {config['member']}",
            )
    return "", "runs, does not list this member (removed, or not added yet)"


def begin_to_answer(config: dict[str, Any]) -> str:
    """Answer on the peer port, from a thread, that this member waits too; or say why not.

    The port closes with this process, which is before systemd starts etcd.
    """
    import socket
    from contextlib import suppress
    from threading import Thread

    host, port = config["peer_listen"]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    context = tls_server(config["tls"])
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as problem:
        return f"cannot answer on {host} port {port}: {describe(problem)}"
    # An object where etcd has a list: an etcd that asks must not take it for a membership.
    ids = {key: config[key] for key in ("cluster_id", "member_id")}
    body = json.dumps({"waiting": True, **ids})
    answer = f"HTTP/1.0 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

    def serve() -> None:
        while True:
            # Whatever goes wrong with one caller, the next is answered.
            with suppress(OSError, RuntimeError):
                connection, _ = listener.accept()
                Thread(target=answer_one, args=(connection, context, answer), daemon=True).start()

    Thread(target=serve, daemon=True).start()
    return ""


def answer_one(connection: socket.socket, context: ssl.SSLContext, answer: bytes) -> None:
    """Answer one request of a member, once it has shown a certificate of our peer CA."""
    from contextlib import suppress

    connection.settimeout(ANSWER_TIMEOUT)
    with suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
        if tls.recv(4096).startswith(b"GET /members "):
            tls.sendall(answer)
        else:
            # An etcd that wants its raft streams. Turned away it is back within 100 ms
            # for another handshake, and so are all of its peers; kept waiting it is quiet.
            time.sleep(ANSWER_TIMEOUT)


def tls_client(tls: dict[str, str], role: str) -> ssl.SSLContext:
    """Trust this role's CA alone, check the name or address dialled, and show our certificate."""
    import ssl

    # Not create_default_context: from Python 3.13 on it is stricter about CA
    # certificates than etcd is, and the operator's own CA has to do for both.
    return load_credential(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), tls, role)


def tls_server(tls: dict[str, str]) -> ssl.SSLContext:
    """Answer other members only."""
    import ssl

    context = load_credential(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls, "peer")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def load_credential(context: ssl.SSLContext, tls: dict[str, str], role: str) -> ssl.SSLContext:
    """Load the credential and the CA of a role."""
    try:
        context.load_cert_chain(tls[f"{role}_cert"], tls[f"{role}_key"])
        context.load_verify_locations(tls[f"{role}_ca"])
    except OSError as problem:
        files = ", ".join(tls[f"{role}_{part}"] for part in ("cert", "key", "ca"))
        raise FailedError(f"cannot load {files}: {problem}") from problem
    return context


def fetch(url: str, context: ssl.SSLContext, body: bytes | None = None) -> tuple[Any, str]:
    """Get JSON (post, if there is a body), and the cluster ID etcd puts in a header."""
    from http.client import HTTPException, HTTPSConnection
    from urllib.parse import urlsplit

    at = urlsplit(url)
    connection = HTTPSConnection(
        at.hostname or "", at.port, context=context, timeout=ANSWER_TIMEOUT
    )
    try:
        connection.request("POST" if body else "GET", at.path, body)
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise NotYetError(f"{at.path} answers {response.status} {text[:80]!r}")
        return json.loads(text), response.headers.get("X-Etcd-Cluster-ID", "")
    except (OSError, HTTPException, ValueError) as problem:
        raise NotYetError(describe(problem)) from problem
    finally:
        connection.close()


def describe(problem: Exception) -> str:
    """Say in a few words why there was no answer."""
    import ssl

    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"tls: {problem.verify_message}"
    if isinstance(problem, ssl.SSLError):
        return f"tls: {problem.reason}"
    if isinstance(problem, TimeoutError):
        return f"no answer within {ANSWER_TIMEOUT} s"
    return getattr(problem, "strerror", None) or repr(problem)


def same_id(one: str, other: str) -> bool:
    """Compare IDs as numbers: etcd prints them without leading zeros."""
    try:
        return int(one, 16) == int(other, 16)
    except ValueError:
        return False


def systemctl(*arguments: str) -> str:
    """Run systemctl, which must succeed."""
    status, said = run_program("systemctl", *arguments)
    if status:
        raise FailedError(f"systemctl {' '.join(arguments)}: {last_line(said)}")
    return said


def show(unit: str, *properties: str) -> dict[str, str]:
    """Ask systemd for properties of a unit."""
    said = systemctl("show", f"--property={','.join(properties)}", unit)
    return dict.fromkeys(properties, "") | dict(
        line.split("=", 1) for line in said.splitlines() if "=" in line
    )


def run_program(*command: str) -> tuple[int, str]:
    """Run a program without a terminal; its exit status, and what it printed."""
    import subprocess

    done = subprocess.run(  # noqa: S603 - our own commands; values come from our own config
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return done.returncode, done.stdout


def last_line(text: str) -> str:
    """Where programs tend to put the reason."""
    return text.strip().rpartition("\n")[2] or "no reason given"


def backoff(pause: float, longest: float) -> Iterator[float]:
    """Yield pauses, for ever, each longer than the last up to the longest."""
    while True:
        yield pause
        pause = min(pause * 1.5, longest)


def seconds_of(moment: str) -> float:
    """Read an RFC 3339 time."""
    from datetime import datetime

    # Python 3.10 knows no Z.
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that any reader, also after a power cut, sees all of it or the old one."""
    new = path.with_name(f".{path.name}.new")
    with new.open("w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def main() -> int:
    """Run one subcommand; whatever ends it is in the result."""
    import argparse

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("command", choices=("run", "start-check", "fetch"))
    parser.add_argument("--config", type=Path, default=CONFIG)
    arguments = parser.parse_args()
    config = json.loads(arguments.config.read_text())
    # etcd's user must get at what it installs; apply.sh, which calls it, lets nobody.
    os.umask(0o022)
    try:
        if arguments.command == "run":
            progress = Progress(config, "address")
            run(config, progress)
        elif arguments.command == "fetch":
            progress = Progress(config, "fetch")
            bring(config, progress)
        else:
            progress = Progress(config, "start-check")
            start_check(config, progress)
    except RefusedError as refusal:
        # Not only this start: without the gate the next boot does not even ask.
        Path(config["gate"]).unlink(missing_ok=True)
        progress.report("refused", str(refusal), refusal.hint, final=True)
        return REFUSED
    except FailedError as failure:
        progress.report("failed", str(failure), failure.hint)
        return FAILED
    except Exception as bug:
        import traceback

        traceback.print_exc()
        progress.report("failed", f"unexpected: {bug!r}")
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
