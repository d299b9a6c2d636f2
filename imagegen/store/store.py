"""The store of one cluster: what cannot be rebuilt. Back up this directory.

    pki/icc-etcd/
        cluster.json                                 the record of its bootstrap
        client-ca.pem, client-ca-key.pem             who signs clients and servers
        peer-ca.pem, peer-ca-key.pem                 who signs peers
        members/NAME/server.pem, server-key.pem, peer.pem, peer-key.pem
        clients/client.pem, client-key.pem, NAME.pem, NAME-key.pem

``client-crl.pem`` lists the clients' certificates that were revoked. While a CA is
being replaced, ``rotation.json``, ``rotation-ca.pem`` and ``rotation-ca-key.pem`` say
how far that is and keep the CA that does not sign.

With one CA (layouts ``lab`` and ``shared``) it is ``ca.pem`` and
``ca-key.pem``, and a member has ``member.pem`` and ``member-key.pem``.

These names are links through ``current``, itself a link to the newest of
``generations/1``, ``generations/2`` and so on. A change of any size is a whole
new generation, written beside the others and made current by one rename; older
generations stay, with every key that ever was. Each is complete in itself and
shares no file (no hard links) with another: they are a few kilobytes, and what
damages one file must not reach its backup. ``cp -a`` and ``tar`` copy all.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from imagegen.base.files import replace_file, sync_directory, take_lock, write_new
from imagegen.base.problems import ImagegenError, Problem, Severity
from imagegen.pki.leaves import DEFAULT_CLIENT, Role
from imagegen.pki.model import (
    CLIENT_CA,
    ONE_CA,
    PEER_CA,
    CertificateAuthority,
    Credential,
    MemberCredentials,
    Pki,
    Rotation,
    members_common_name,
)
from imagegen.pki.pem import KEY_ENDING, certificate_file, key_file, revoked_in
from imagegen.store.events import Event
from imagegen.store.names import (
    CLIENTS,
    CRL,
    CURRENT,
    GENERATIONS,
    LOCK,
    MEMBERS,
    NEW_RECORD,
    RECORD,
    ROTATION,
    ROTATION_CA,
    UNFINISHED,
    client_pair,
    has_one_ca,
    member_pair,
)
from imagegen.store.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What a store holds, and what is amiss with its files."""

    record: Record
    pki: Pki = field(repr=False)
    warnings: tuple[Problem, ...] = ()


class Store:
    """The directory ``ROOT/CLUSTER`` and all that is in it."""

    def __init__(self, root: Path, cluster: str) -> None:
        self.path = root / cluster
        self.cluster = cluster
        self._held = False

    @contextmanager
    def locked(self, *, wait: float = 30.0) -> Iterator[None]:
        """Keep other builds out, after waiting ``wait`` seconds for one that is running.

        Raises:
            ImagegenError: it is still running, or the store cannot be written.
        """
        with _explained(self.path):
            # Not with parents=True alone: that leaves the root's mode to the umask.
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
            lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with _explained(self.path):
                if not take_lock(lock, wait=wait):
                    raise ImagegenError(
                        "another imagegen is working on this store",
                        where=str(self.path),
                        hint="wait until it is done, then run this again",
                    )
                self._prepare()
            self._held = True
            yield
        finally:
            self._held = False
            os.close(lock)

    def _prepare(self) -> None:
        """Sweep what an interrupted run left, and point an empty store at its first generation.

        That ``current`` dangles until the first generation gets its name, so
        one rename is what makes a store of an empty directory, and a store
        whose ``current`` was lost is never taken for an empty one.
        """
        generations = self.path / GENERATIONS
        generations.mkdir(mode=0o700, exist_ok=True)
        if (generations / UNFINISHED).exists():
            shutil.rmtree(generations / UNFINISHED)
        (self.path / UNFINISHED).unlink(missing_ok=True)
        (self.path / CURRENT / NEW_RECORD).unlink(missing_ok=True)
        if not self._generations() and not (self.path / CURRENT).is_symlink():
            (self.path / CURRENT).symlink_to(f"{GENERATIONS}/1")

    def _generations(self) -> list[int]:
        with suppress(FileNotFoundError):
            found = [path.name for path in (self.path / GENERATIONS).iterdir()]
            return [int(name) for name in found if name.isdigit()]
        return []

    def load(self) -> Stored | None:
        """What the store holds; None if nothing was ever saved in it.

        Raises:
            ImagegenError: it is damaged. It is never taken for an empty one.
        """
        with _explained(self.path):
            # Once resolved, a save by another run does not change what is read here.
            base = self.path / CURRENT
            base = self.path / base.readlink() if base.is_symlink() else base
            if not base.is_dir():
                if not self._generations():
                    return None
                raise _damaged(self.path, "current does not lead to one of its generations")
            return self._load(base)

    def existing(self) -> Stored:
        """What the store holds.

        Raises:
            ImagegenError: nothing was ever saved in it, or it is damaged.
        """
        stored = self.load()
        if stored is None:
            raise ImagegenError(
                "nothing was ever saved here",
                where=str(self.path),
                hint="imagegen build makes a store; if the cluster was built elsewhere, name the "
                "root of its store with --pki",
            )
        return stored

    @contextmanager
    def opened(self) -> Iterator[Stored]:
        """Hold the lock of a store that exists, and tell what it holds.

        Raises:
            ImagegenError: as :meth:`existing` and :meth:`locked`; where nothing was
                ever saved, no directory is made.
        """
        self.existing()  # before the lock, which would make the directory
        with self.locked():
            yield self.existing()

    def _load(self, base: Path) -> Stored:
        record = self._record(base / RECORD)
        one_ca = has_one_ca(base)
        ca = _authority(base, ONE_CA if one_ca else CLIENT_CA)
        members = {
            directory.name: _member(base, directory.name, one_ca)
            for directory in sorted((base / MEMBERS).iterdir())
        }
        clients = {
            path.stem: _credential(base, client_pair(path.stem))
            for path in sorted((base / CLIENTS).iterdir())
            if not path.name.endswith(KEY_ENDING)
        }
        name = members_common_name(members, clients.values()) if one_ca else None
        pki = Pki(
            ca=ca,
            peer_ca=ca if one_ca else _authority(base, PEER_CA),
            members=members,
            client=clients.pop(DEFAULT_CLIENT, None),
            clients=clients,
            peer_common_name=name,
            crl_pem=_crl(base / CRL),
            rotation=_rotation(base),
        )
        return Stored(record=record, pki=pki, warnings=tuple(self._exposed(base)))

    def clients_ever(self) -> dict[str, set[str]]:
        """Every certificate that a client ever had here, as PEM texts by the client's name.

        A renewed certificate replaces another that is good until its own end.
        """
        ever: dict[str, set[str]] = {}
        with _explained(self.path):
            for number in self._generations():
                for path in (self.path / GENERATIONS / str(number) / CLIENTS).glob("*.pem"):
                    if not path.name.endswith(KEY_ENDING):
                        ever.setdefault(path.stem, set()).add(_text(path))
        return ever

    def _record(self, path: Path) -> Record:
        try:
            record = Record.from_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise _damaged(path, "is missing") from None
        except (ValueError, RecursionError) as error:
            raise _damaged(path, f"cannot be used: {error}") from None
        if record.cluster != self.cluster:
            raise ImagegenError(
                f"is the record of {record.cluster}, not of {self.cluster}",
                where=str(path),
                hint="name the directory as the cluster is called in its spec",
            )
        return record

    def _exposed(self, base: Path) -> Iterator[Problem]:
        """Warn, not refuse: what others could read they have read; a renewal must go through."""
        open_paths = [
            path
            for path in (self.path, base, *base.rglob("*"))
            if (path.is_dir() or path.name.endswith(KEY_ENDING)) and path.stat().st_mode & 0o077
        ]
        if open_paths:
            more = f" and {len(open_paths) - 1} more" if len(open_paths) > 1 else ""
            yield Problem(
                where=str(open_paths[0]),
                what=f"can be read by other users{more}",
                hint=f"chmod -R go= {self.path}",
                severity=Severity.WARNING,
            )

    def save(self, record: Record, pki: Pki) -> bool:
        """Make this the current generation; False, and no write, if it is already.

        Members and clients that ``pki`` does not have keep their stored
        credentials. Until the one rename at the end, and if anything fails
        before it, the store is what it was.

        Raises:
            ImagegenError: it cannot be written.
        """
        if not self._held:
            raise RuntimeError("Store.save outside of Store.locked")
        stored = self.load()
        if stored is not None:
            old = stored.pki
            pki = replace(
                pki,
                members={**old.members, **pki.members},
                client=pki.client or old.client,
                clients={**old.clients, **pki.clients},
                crl_pem=pki.crl_pem or old.crl_pem,
            )
        files = _files(record, pki)
        if stored is not None and files == _files(stored.record, stored.pki):
            return False
        with _explained(self.path):
            self._write(files)
        return True

    def observe(self, event: Event) -> None:
        """Append an event to the record; no write where it is not news.

        Only the record changes: no generation is made of it, or whoever asks
        for the status every minute would fill the disk with keys.

        Raises:
            ImagegenError: nothing was ever saved here, or it cannot be written.
        """
        if not self._held:
            raise RuntimeError("Store.observe outside of Store.locked")
        with _explained(self.path):
            base = self.path / CURRENT
            record = self._record(base / RECORD)
            longer = record.after(event)
            if longer == record:
                return
            replace_file(base / RECORD, longer.to_json().encode("ascii"))

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A private directory for keys that live as long as a question.

        Not in /tmp: what a killed run leaves of it, the next one sweeps.
        """
        if not self._held:
            raise RuntimeError("Store.scratch outside of Store.locked")
        path = self.path / GENERATIONS / UNFINISHED
        with _explained(path):
            path.mkdir(mode=0o700)
        try:
            yield path
        finally:
            shutil.rmtree(path)

    def _write(self, files: Mapping[str, str]) -> None:
        generations = self.path / GENERATIONS
        number = max(self._generations(), default=0) + 1
        _write_tree(generations / UNFINISHED, files)
        for path in (generations / UNFINISHED).iterdir():
            self._link(path.name)
        sync_directory(self.path)
        sync_directory(self.path.parent)
        (generations / UNFINISHED).rename(generations / str(number))
        sync_directory(generations)
        target = Path(GENERATIONS, str(number))
        if (self.path / CURRENT).readlink() != target:
            (self.path / UNFINISHED).symlink_to(target)
            (self.path / UNFINISHED).rename(self.path / CURRENT)
            sync_directory(self.path)
        for path in self.path.iterdir():
            if path.is_symlink() and not path.exists():
                path.unlink()  # of a file that only older generations have

    def _link(self, name: str) -> None:
        path, target = self.path / name, Path(CURRENT, name)
        if path.is_symlink() and path.readlink() == target:
            return
        if path.exists() or path.is_symlink():
            raise ImagegenError(
                f"is in the way: it should be a link to {target}",
                where=str(path),
                hint="move it out of the store; the file that counts is the one it should lead to",
            )
        path.symlink_to(target)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into one that says what to do."""
    try:
        yield
    except OSError as error:
        raise ImagegenError(
            f"cannot use the store: {error.strerror}",
            where=str(error.filename or path),
            hint="what was saved before is still there; run again once this is mended",
        ) from None


def _damaged(path: Path, what: str) -> ImagegenError:
    hint = "restore the store from a backup, or point `current` at an older generation"
    return ImagegenError(what, where=str(path), hint=hint)


def _files(record: Record, pki: Pki) -> dict[str, str]:
    """Every file of a generation, by its path in it."""
    files = {RECORD: record.to_json()}
    authorities = list(pki.authorities)
    if pki.crl_pem:
        files[CRL] = pki.crl_pem
    if rotation := pki.rotation:
        files[ROTATION] = json.dumps({"ca": rotation.name, "step": rotation.step}) + "\n"
        authorities.append(replace(rotation.other, name=ROTATION_CA))
    for authority in authorities:
        files[certificate_file(authority.name)] = authority.certificate_pem
        if authority.key_pem is not None:
            files[key_file(authority.name)] = authority.key_pem
    credentials = {client_pair(name): client for name, client in pki.clients.items()}
    if pki.client:
        credentials[client_pair(DEFAULT_CLIENT)] = pki.client
    for name, member in pki.members.items():
        credentials |= {member_pair(name, role): member.of(role) for role in pki.roles}
    for pair, credential in credentials.items():
        files[certificate_file(pair)] = credential.certificate_pem
        files[key_file(pair)] = credential.key_pem
    return files


def _authority(base: Path, name: str) -> CertificateAuthority:
    key = base / key_file(name)
    return CertificateAuthority(
        name=name,
        certificate_pem=_text(base / certificate_file(name)),
        # Brought by the operator, or taken offline: only signing needs it.
        key_pem=_text(key) if key.exists() else None,
    )


def _crl(path: Path) -> str | None:
    if not path.exists():
        return None
    text = _text(path)
    try:
        revoked_in(text)
    except ValueError:
        # Never taken for an empty list: whoever was revoked would be let in again.
        raise _damaged(path, "is not a revocation list") from None
    return text


def _rotation(base: Path) -> Rotation | None:
    path = base / ROTATION
    if not path.exists():
        return None
    try:
        document = json.loads(_text(path))
        name, step = document["ca"], document["step"]
        if name not in (ONE_CA, CLIENT_CA, PEER_CA) or step not in (1, 2, 3):
            raise ValueError
    except (ValueError, TypeError, KeyError):
        raise _damaged(path, "does not say which step a rotation is at") from None
    return Rotation(name=name, step=step, other=_authority(base, ROTATION_CA))


def _member(base: Path, name: str, one_ca: bool) -> MemberCredentials:
    if one_ca:
        both = _credential(base, member_pair(name, Role.MEMBER))
        return MemberCredentials(server=both, peer=both)
    return MemberCredentials(
        server=_credential(base, member_pair(name, Role.SERVER)),
        peer=_credential(base, member_pair(name, Role.PEER)),
    )


def _credential(base: Path, pair: str) -> Credential:
    return Credential(
        certificate_pem=_text(base / certificate_file(pair)), key_pem=_text(base / key_file(pair))
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        raise _damaged(path, "is missing") from None
    except UnicodeDecodeError:
        raise _damaged(path, "is not PEM") from None


def _write_tree(top: Path, files: Mapping[str, str]) -> None:
    """Write files of mode 0600 into new directories of mode 0700, all of it on the disk."""
    directories = {top, top / MEMBERS, top / CLIENTS} | {(top / name).parent for name in files}
    for directory in sorted(directories):
        directory.mkdir(mode=0o700)
    for name, text in files.items():
        write_new(top / name, text.encode("ascii"))
    for directory in sorted(directories, reverse=True):
        sync_directory(directory)
