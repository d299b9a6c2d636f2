"""What is on a seed, ours or anyone's, and what cloud-init would make of it.

The rules are cloud-init's own (22.4.2 to 26.2). An error means that it skips
the seed, or that one of its documents has no effect; all else is a warning.

Seeds hold private keys: contents, and parsers' messages quoting them, end in
this module. Seeds of strangers may also be hostile: every document is read
within limits of size, depth and expansion.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from email import message_from_bytes
from io import BytesIO
from typing import Any, TypeGuard

import yaml

from imagegen.base.problems import Problem, Severity
from imagegen.media.iso_reader import Seed, read_seed
from imagegen.media.nocloud import LABELS, REQUIRED

_DOCUMENT_LIMIT = 4 * 1024 * 1024
_DECODED_LIMIT = 16 * 1024 * 1024
_EXPANDED_LIMIT = 16 * 1024 * 1024
_PART_LIMIT = 64
_BOUNDARY_LIMIT = 8
_NODE_LIMIT = 20_000
_DEPTH_LIMIT = 100
_DIGIT_LIMIT = 100
_PROBLEM_LIMIT = 200
_TEXT_LIMIT = 200

_PRIVATE_KEY = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
_GZIP = b"\x1f\x8b"

# How a part may begin, and as what: cloud-init takes the longest that fits.
_HEADERS = {
    b"#cloud-config-archive": "text/cloud-config-archive",
    b"#cloud-config-jsonp": "text/cloud-config-jsonp",
    b"## template: jinja": "text/jinja2",
    b"#cloud-boothook": "text/cloud-boothook",
    b"#include-once": "text/x-include-once-url",
    b"#cloud-config": "text/cloud-config",
    b"#part-handler": "text/part-handler",
    b"#include": "text/x-include-url",
    b"#!": "text/x-shellscript",
}
_KINDS = {
    "text/cloud-config-archive": "cloud-config archive",
    "text/cloud-config-jsonp": "cloud-config patch",
    "text/jinja2": "jinja template",
    "text/cloud-boothook": "boot hook",
    "text/x-include-once-url": "include",
    "text/cloud-config": "cloud-config",
    "text/part-handler": "part handler",
    "text/x-include-url": "include",
    "text/x-shellscript": "script",
    "text/x-shellscript-per-boot": "script",
    "text/x-shellscript-per-instance": "script",
    "text/x-shellscript-per-once": "script",
}
# What cloud-init does not take a part's word for: here it looks for a header.
_NO_TYPE = "text/x-not-multipart"
_UNTRUSTED_TYPES = ("text/plain", _NO_TYPE, "text/x-shellscript")

_ENCODINGS = {
    "": (),
    "text/plain": (),
    **dict.fromkeys(("b64", "base64"), ("base64",)),
    **dict.fromkeys(("gz", "gzip"), ("gzip",)),
    **dict.fromkeys(("gz+b64", "gz+base64", "gzip+b64", "gzip+base64"), ("base64", "gzip")),
}
_DEFAULT_MODE = 0o644
_MODES = range(0o10000)

# The users and groups of Debian and Ubuntu images: write_files runs before
# cloud-init's users and packages add theirs.
_BASE_OWNERS = frozenset((
    "root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp",
    "proxy", "www-data", "backup", "list", "irc", "nobody", "_apt", "messagebus", "sshd",
    "systemd-network", "systemd-resolve", "systemd-timesync", "syslog", "adm", "tty", "disk",
    "kmem", "dialout", "fax", "voice", "cdrom", "floppy", "tape", "sudo", "audio", "dip",
    "operator", "src", "shadow", "utmp", "video", "sasl", "plugdev", "staff", "users",
    "nogroup", "input", "render", "kvm", "crontab", "systemd-journal",
))  # fmt: skip
_NETWORK_TYPES = (
    "physical", "loopback", "bond", "bridge", "infiniband", "vlan", "nameserver", "route",
)  # fmt: skip

_Path = tuple[str | int, ...]
_Warn = Callable[[str, str, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport:
    """One file of the seed, without its content."""

    name: str
    size: int
    sha256: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateReport:
    """A certificate that user-data writes to the member."""

    subject: str
    sans: tuple[str, ...]
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenFile:
    """An entry of ``write_files``; size and keys are those of the decoded content."""

    path: str
    size: int
    mode: str
    owner: str
    deferred: bool
    private_keys: int
    certificates: tuple[CertificateReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UserData:
    """What the user-data configures, cloud-config parts taken together."""

    hostname: str
    packages: tuple[str, ...]
    users: tuple[str, ...]
    files: tuple[WrittenFile, ...]
    commands: int
    private_keys: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything ``inspect`` has to say about one seed; it holds no secret."""

    source: str
    label: str
    created: datetime | None
    rock_ridge: bool
    joliet: bool
    instance_id: str
    local_hostname: str
    files: tuple[FileReport, ...]
    user_data: UserData | None
    problems: tuple[Problem, ...]

    @property
    def accepted(self) -> bool:
        """Whether cloud-init would use the seed and every document on it."""
        return not any(problem.severity is Severity.ERROR for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        """Return the report as values :mod:`json` can write."""
        values = asdict(self, dict_factory=_jsonable)
        return {"accepted": self.accepted, **values}

    def lines(self) -> list[str]:
        """Return the report as text for a person."""
        extensions = [
            name
            for name, present in (("Rock Ridge", self.rock_ridge), ("Joliet", self.joliet))
            if present
        ]
        lines = [
            f"{self.source}: cloud-init would {'' if self.accepted else 'not '}accept this seed",
            f"label {self.label or 'none'}, {' and '.join(extensions) or 'plain ISO 9660'}, "
            f"instance-id {self.instance_id or 'none'}",
        ]
        lines += [
            f"  {file.name}: {file.size} bytes, {file.kind}, sha256 {file.sha256}"
            for file in self.files
        ]
        if self.user_data:
            lines += _user_data_lines(self.user_data)
        return lines + [line for problem in self.problems for line in str(problem).splitlines()]


def inspect_seed(data: bytes, *, source: str) -> Report:
    """Judge a seed as cloud-init would; raise SeedError for what is not an ISO image."""
    seed = read_seed(data, source=source)
    found = _Findings(source)
    _check_volume(seed, found)
    files = {file.name: file.content for file in reversed(seed.files)}
    meta_data, documents = _read_documents(files, found)
    kinds = {"meta-data": "YAML", "network-config": "YAML"}
    kinds |= {name: document.kind for name, document in documents.items()}
    return Report(
        source=source,
        label=_shown(seed.label),
        created=seed.created,
        rock_ridge=seed.rock_ridge is not None,
        joliet=seed.joliet is not None,
        instance_id=_shown(meta_data.value.get("instance-id") or ""),
        local_hostname=_shown(meta_data.value.get("local-hostname") or ""),
        files=tuple(
            FileReport(
                name=_shown(file.name),
                size=file.size,
                sha256=hashlib.sha256(file.content).hexdigest(),
                kind=kinds.get(file.name, "not read by cloud-init"),
            )
            for file in seed.files
        ),
        user_data=documents["user-data"].summary() if "user-data" in files else None,
        problems=tuple(found.problems),
    )


def inspect_volume(seed: Seed, *, source: str) -> tuple[Problem, ...]:
    """What cloud-init would mind about a seed, whatever its documents say."""
    found = _Findings(source)
    _check_volume(seed, found)
    return tuple(found.problems)


def inspect_documents(files: Mapping[str, bytes], *, source: str) -> tuple[Problem, ...]:
    """What cloud-init would mind about documents, by the names NoCloud looks for."""
    found = _Findings(source)
    _read_documents(files, found)
    return tuple(found.problems)


def _read_documents(
    files: Mapping[str, bytes], found: _Findings
) -> tuple[_Yaml, dict[str, _UserData]]:
    """Judge the documents; meta-data, and what is configured, as far as they can be read."""
    meta_data = _mapping(files, "meta-data", "cloud-init takes no value from it", found)
    if "meta-data" in files:
        _check_meta_data(meta_data, found)
    network_config = _mapping(files, "network-config", "cloud-init falls back to DHCP", found)
    _check_network_config(network_config, found)
    documents = {name: _UserData(name, found) for name in ("user-data", "vendor-data")}
    for name, document in documents.items():
        if name in files:
            document.read(files[name])
    return meta_data, documents


def _jsonable(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in pairs
    }


def _user_data_lines(user_data: UserData) -> Iterator[str]:
    yield f"user-data: {user_data.commands} commands, {user_data.private_keys} private keys"
    for title, values in (
        ("hostname", (user_data.hostname,)),
        ("packages", user_data.packages),
        ("users", user_data.users),
    ):
        if any(values):
            yield f"  {title}: {', '.join(values)}"
    for file in user_data.files:
        keys = f", {file.private_keys} private keys" if file.private_keys else ""
        yield f"  {file.path}: {file.size} bytes, {file.mode} {file.owner}{keys}"
        for certificate in file.certificates:
            yield (
                f"    {certificate.subject or 'no subject'}, "
                f"for {', '.join(certificate.sans) or 'no names'}, "
                f"until {certificate.not_after:%Y-%m-%d}"
            )


@dataclass(frozen=True, slots=True)
class _Yaml:
    """A parsed document, with the nodes that know where everything stands."""

    value: Any
    root: yaml.Node | None = None
    children: Mapping[int, Mapping[str, yaml.Node]] = field(default_factory=dict)

    def at(self, *path: str | int) -> yaml.Node | None:
        """Find the node a path leads to, or the last one that can be found on the way."""
        node = self.root
        for step in path:
            if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
                child = node.value[step]
            else:
                child = self.children.get(id(node), {}).get(str(step))
            if child is None:
                break
            node = child
        return node

    def mark(self, *path: str | int) -> yaml.Mark | None:
        """Find the place a path leads to."""
        node = self.at(*path)
        return node.start_mark if node else None

    def duplicates(self) -> Iterator[tuple[yaml.Mark, yaml.Mark]]:
        """Yield the places of keys that one mapping holds twice."""
        for node in _walk(self.root) if self.root else ():
            if not isinstance(node, yaml.MappingNode):
                continue
            first: dict[tuple[str, str], yaml.Mark] = {}
            for key in (key for key, _ in node.value if _is_scalar(key)):
                mark = first.setdefault((key.tag, key.value), key.start_mark)
                if mark is not key.start_mark:
                    yield mark, key.start_mark


class _UnreadableError(Exception):
    """A document that is not YAML; it knows the place, and keeps the text to itself."""

    def __init__(self, mark: Any = None) -> None:
        super().__init__()
        self.mark = mark


class _LimitError(Exception):
    """A document that may be YAML, but of a kind nobody writes by honest means."""


class _Findings:
    """The problems of one seed, in the order they were found."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.problems: list[Problem] = []

    def error(self, name: str, what: str, hint: str, mark: yaml.Mark | None = None) -> None:
        """Note why cloud-init would not use the seed, or the document called ``name``."""
        self._add(Severity.ERROR, name, what, hint, mark)

    def warn(self, name: str, what: str, hint: str, mark: yaml.Mark | None = None) -> None:
        """Note what cloud-init would accept, but probably nobody meant."""
        self._add(Severity.WARNING, name, what, hint, mark)

    def _add(
        self, severity: Severity, name: str, what: str, hint: str, mark: yaml.Mark | None
    ) -> None:
        # A hostile document can hold a fault in every other byte.
        if len(self.problems) < _PROBLEM_LIMIT:
            where = f"{self._source}/{name}" if name else self._source
            if mark:
                where += f":{mark.line + 1}:{mark.column + 1}"
            self.problems.append(Problem(where=where, what=what, hint=hint, severity=severity))


# --- the seed -------------------------------------------------------------------------


def _check_volume(seed: Seed, found: _Findings) -> None:
    if seed.label not in LABELS:
        found.error(
            "",
            f"the volume label is {_shown(seed.label) or 'empty'}: "
            f"cloud-init looks for {' or '.join(LABELS)} only",
            "build the seed with the volume label cidata",
        )
    for name in REQUIRED:
        if not seed.find(name):
            _report_missing(seed, name, found)
    if seed.rock_ridge is None and seed.joliet is None:
        found.warn(
            "",
            "the volume has neither Rock Ridge nor Joliet, which carry names like user-data",
            "build the seed with both: genisoimage -joliet -rock",
        )
    joliet = {file.name: file.content for file in seed.joliet or ()}
    for file in seed.rock_ridge or ():
        if joliet.get(file.name, file.content) != file.content:
            found.warn(
                _shown(file.name),
                "Rock Ridge and Joliet show different contents; Linux reads Rock Ridge's",
                "build the seed again",
            )


def _report_missing(seed: Seed, name: str, found: _Findings) -> None:
    """Say that a required file is missing, and what may have become of it."""
    alike = next((file.name for file in seed.files if _is_alike(file.name, name)), None)
    if alike:
        found.error(
            "",
            f"{name} is missing; {_shown(alike)} is not the name cloud-init looks for",
            "keep the exact name, with Rock Ridge and Joliet: genisoimage -joliet -rock",
        )
    else:
        found.error(
            "",
            f"{name} is missing: cloud-init skips a seed without it",
            f"put {name} into the root directory, even if it is empty",
        )


def _is_alike(actual: str, name: str) -> bool:
    """Whether a name looks like another after upper-casing, cutting to 8.3 or an added suffix."""
    stem = re.sub("[^a-z]", "", actual.lower().split(".")[0])
    wanted = name.replace("-", "")
    return stem == wanted or (len(stem) >= 7 and wanted.startswith(stem))


def _text(name: str, content: bytes, found: _Findings) -> str:
    """Decode a document; one that is too large or no text counts as empty."""
    if len(content) > _DOCUMENT_LIMIT:
        found.warn(
            name,
            f"not examined, because it is larger than {_DOCUMENT_LIMIT} bytes",
            "let the machine download large files instead",
        )
        return ""
    try:
        return content.decode()
    except UnicodeDecodeError:
        found.error(name, "not UTF-8 text: cloud-init cannot use it", "save it as UTF-8")
        return ""


# --- meta-data and network-config -----------------------------------------------------


def _mapping(files: Mapping[str, bytes], name: str, effect: str, found: _Findings) -> _Yaml:
    """Read a YAML document; an absent or unreadable one counts as empty."""
    content = files.get(name)
    if content is None:
        return _Yaml({})
    _check_line_ends(name, content, found)
    if content.startswith(b"\xef\xbb\xbf"):
        found.warn(name, "begins with a byte order mark", "save it as UTF-8 without one")
    return _load(name, _text(name, content, found), effect, found) or _Yaml({})


def _check_line_ends(name: str, content: bytes, found: _Findings) -> None:
    """Warn of what cloud-init passes over, but nothing of ours writes."""
    start = content[:4096]
    if b"\r\n" in start and b"\0" not in start:  # else it is no text, and has no lines
        found.warn(
            name,
            "its lines end in CR LF: an editor or git has changed it",
            "save it with the line ends of Unix; for git, say -text in .gitattributes",
        )


def _load(name: str, text: str, effect: str, found: _Findings) -> _Yaml | None:
    """Parse a document; report why it cannot be read, or keys given twice."""
    try:
        document = _parse(text)
    except _UnreadableError as error:
        found.error(
            name,
            f"not valid YAML: {effect}",
            "look for a tab, a wrong indent, or a value that needs quotes",
            error.mark,
        )
        return None
    except _LimitError as error:
        found.warn(name, f"not examined: {error}", "write it more simply")
        return None
    if not isinstance(document.value, dict):
        found.error(
            name, f"not a mapping: {effect}", "write lines of the form key: value", document.mark()
        )
        return None
    for first, second in document.duplicates():
        found.warn(
            name,
            f"the same key as on line {first.line + 1}: the last one wins, silently",
            "give each key once",
            second,
        )
    return document


def _check_meta_data(document: _Yaml, found: _Findings) -> None:
    if document.value.get("instance-id") in (None, ""):
        found.warn(
            "meta-data",
            "no instance-id: cloud-init takes nocloud, and will ignore a later seed "
            "without one as already done",
            "add an instance-id, a new one for each first boot",
        )


def _check_network_config(document: _Yaml, found: _Findings) -> None:
    path: _Path = ("network",) if "network" in document.value else ()
    config = document.value.get("network", document.value)
    if not document.value or config == {"config": "disabled"}:
        return
    version = str(config.get("version")) if isinstance(config, dict) else ""
    if version == "1":
        _check_network_v1(document, (*path, "config"), config.get("config"), found)
    elif version == "2":
        _check_network_v2(document, path, config, found)
    else:
        found.error(
            "network-config",
            "neither version 1 nor version 2: cloud-init configures no network",
            "say version: 1 or version: 2, at the top or below network:",
            document.mark(*path, "version"),
        )


def _check_network_v1(document: _Yaml, path: _Path, devices: Any, found: _Findings) -> None:
    if not isinstance(devices, list):
        found.error(
            "network-config",
            "version 1 without a list called config: cloud-init configures no network",
            "list the devices below config:",
            document.mark(*path),
        )
        return
    for index, device in enumerate(devices):
        if not isinstance(device, dict) or device.get("type") not in _NETWORK_TYPES:
            found.error(
                "network-config",
                f"config[{index}] is of no type cloud-init knows: it configures no network",
                f"give it a type: {', '.join(_NETWORK_TYPES)}",
                document.mark(*path, index, "type"),
            )
        else:
            mac_path = (*path, index, "mac_address")
            _check_mac(document, mac_path, device.get("mac_address"), found)


def _check_network_v2(
    document: _Yaml, path: _Path, config: Mapping[Any, Any], found: _Findings
) -> None:
    for kind in ("ethernets", "bonds", "bridges", "vlans"):
        devices = config.get(kind, {})
        if not isinstance(devices, dict):
            found.error(
                "network-config",
                f"{kind} is not a mapping: cloud-init configures no network",
                f"below {kind}:, give each device a name and a colon",
                document.mark(*path, kind),
            )
            continue
        for name, device in devices.items():
            if isinstance(device, dict):
                _check_v2_device(document, (*path, kind, name), device, found)


def _check_v2_device(
    document: _Yaml, path: _Path, device: Mapping[Any, Any], found: _Findings
) -> None:
    match = device.get("match")
    if isinstance(match, dict):
        _check_mac(document, (*path, "match", "macaddress"), match.get("macaddress"), found)
    for key in ("gateway4", "gateway6"):
        if key in device:
            found.warn(
                "network-config",
                f"netplan has deprecated {key}",
                "use a route, or network-config version 1",
                document.mark(*path, key),
            )
    for index, route in enumerate(_items(device.get("routes"))):
        if isinstance(route, dict) and route.get("to") == "default":
            found.warn(
                "network-config",
                "a route to default: before cloud-init 25.3, images without netplan "
                "come up without any network",
                "use network-config version 1",
                document.mark(*path, "routes", index, "to"),
            )


def _check_mac(document: _Yaml, path: _Path, mac: Any, found: _Findings) -> None:
    if mac is not None and not isinstance(mac, str):
        found.error(
            "network-config",
            "the MAC address reads as a number, which no device has",
            'quote it, "52:54:00:12:34:56"; YAML reads bare digits and colons as base 60',
            document.mark(*path),
        )


# --- user-data and vendor-data --------------------------------------------------------


@dataclass(slots=True)
class _UserData:
    """A user-data or vendor-data document, as far as it has been read."""

    name: str
    found: _Findings
    kind: str = "empty"
    config: dict[Any, Any] = field(default_factory=dict)
    files: tuple[WrittenFile, ...] = ()
    private_keys: int = 0
    decoded: int = 0

    def read(self, content: bytes) -> None:
        """Read a document as NoCloud hands it on: perhaps compressed, perhaps in parts."""
        content = _gunzip(content)
        if b"mime-version:" in content[:4096].lower():
            self.kind = "multi-part"
            self._read_parts(content)
        else:
            _check_line_ends(self.name, content, self.found)
            self.kind = self._read_part(self.name, content, _NO_TYPE)

    def _read_parts(self, content: bytes) -> None:
        if not _text(self.name, content, self.found):
            return
        parts = []
        # The parser compares each line with the boundary of every level.
        if content.lower().count(b"boundary") <= _BOUNDARY_LIMIT:
            with suppress(RecursionError):
                parts = list(message_from_bytes(content).walk())
        parts = [part for part in parts if part.get_content_maintype() != "multipart"]
        if not 0 < len(parts) <= _PART_LIMIT:
            self.found.warn(
                self.name, "not examined: too many parts, or none", "put a few parts on one level"
            )
            return
        for number, part in enumerate(parts, start=1):
            payload, content_type = part.get_payload(decode=True), part.get_content_type()
            if not isinstance(payload, bytes):
                continue
            if "gzip" in content_type:
                payload, content_type = _gunzip(payload), "text/plain"
            merges = "Merge-Type" in part or "X-Merge-Type" in part
            self._read_part(f"{self.name}[{number}]", payload, content_type, merges=merges)

    def _read_part(
        self, name: str, content: bytes, content_type: str, *, merges: bool = False
    ) -> str:
        """Judge one part and tell its kind."""
        self.decoded += len(content)
        if self.decoded > _DECODED_LIMIT:
            self.found.warn(name, "not examined: there is too much before it", "use fewer parts")
            return "not examined"
        self.private_keys += len(_PRIVATE_KEY.findall(content))
        if content_type in _UNTRUSTED_TYPES:
            content_type = _sniff(content) or content_type
        kind = _KINDS.get(content_type, "unknown")
        if not content.strip():
            if name == "user-data":
                self.found.warn(name, "empty: cloud-init does nothing", "give a #cloud-config")
            return "empty"
        if kind == "unknown":
            what, hint = _why_ignored(content)
            self.found.error(name, f"{what}: cloud-init ignores it all", hint)
        elif text := _text(name, content, self.found):
            if kind == "jinja template":
                self._read_template(name, text)
            elif kind == "cloud-config":
                self._read_config(name, text, merges=merges)
        return kind

    def _read_template(self, name: str, text: str) -> None:
        self.found.warn(
            name,
            "a jinja template: cloud-init renders every {{, {% and {# in it, "
            "in the files it writes too",
            "leave out the line ## template: jinja unless you need it",
        )
        # What it renders to, only the machine knows.
        body = text.lstrip().partition("\n")[2]
        if not re.search("{[{%#]", body) and _sniff(body.encode()) == "text/cloud-config":
            self._read_config(name, text, merges=False)

    def _read_config(self, name: str, text: str, *, merges: bool) -> None:
        document = _load(name, text, "cloud-init ignores all of it", self.found)
        if document is None:
            return
        config = document.value
        if "network" in config:
            self.found.warn(
                name,
                "network: in user-data is ignored",
                "move it to network-config",
                document.mark("network"),
            )
        _check_commands(name, document, self.found)
        files = tuple(self._written_files(name, document))
        self.files = (*self.files, *files)
        # Parts are merged key by key; by default a later value replaces an earlier one.
        merges = merges or bool({"merge_how", "merge_type"} & config.keys())
        for key, value in config.items():
            before = self.config.get(key)
            if merges and isinstance(before, list) and isinstance(value, list):
                self.config[key] = [*before, *value]
                continue
            if key in self.config:
                self.found.warn(
                    name,
                    "an earlier part has this key too, and this one replaces it",
                    "use one part, or give this one a Merge-Type",
                    document.mark(key),
                )
                if key == "write_files":
                    self.files = files
            self.config[key] = value

    def _written_files(self, name: str, document: _Yaml) -> Iterator[WrittenFile]:
        for index, entry in enumerate(_items(document.value.get("write_files"))):
            file = self._written_file(name, document, index, entry)
            if self.decoded > _DECODED_LIMIT:
                self.found.warn(name, "not all of write_files was examined", "write less")
                return
            if file:
                yield file

    def _written_file(
        self, name: str, document: _Yaml, index: int, entry: Any
    ) -> WrittenFile | None:
        def warn(key: str, what: str, hint: str) -> None:
            where = f"write_files[{index}]" + (f".{key}" if key else "")
            mark = document.mark("write_files", index, key)
            self.found.warn(name, f"{where}: {what}", hint, mark)

        path = _word(entry.get("path")) if isinstance(entry, dict) else ""
        if not path:
            warn("", "no path: cloud-init cannot write it", "give it a path")
            return None
        if not path.startswith("/"):
            warn("path", "not an absolute path", "start it with /")

        content = _content(entry, warn)
        self.decoded += len(content)
        private_keys = len(_PRIVATE_KEY.findall(content))
        if _encoding(entry):
            self.private_keys += private_keys  # which the document's text did not show
        node = document.at("write_files", index, "permissions")
        mode = _mode(entry.get("permissions"), node, warn)
        if private_keys and mode & 0o004:
            warn("permissions", "everyone could read this private key", "say permissions: '0600'")
        owner = _word(entry.get("owner")) or "root:root"
        deferred = _word(entry.get("defer")).lower() in ("true", "yes", "on", "1")
        _check_owner(owner, deferred, warn)
        return WrittenFile(
            path=_shown(path),
            size=len(content),
            mode=f"{mode:04o}",
            owner=_shown(owner),
            deferred=deferred,
            private_keys=private_keys,
            certificates=tuple(_certificates(content, warn)),
        )

    def summary(self) -> UserData:
        """Tell what all parts together configure."""
        config = self.config
        return UserData(
            hostname=_shown(config.get("fqdn") or config.get("hostname") or ""),
            packages=tuple(
                _shown(package[0] if isinstance(package, list) and package else package)
                for package in _items(config.get("packages"))
            ),
            users=tuple(
                _shown(user.get("name", "") if isinstance(user, dict) else user)
                for user in _items(config.get("users"))
            ),
            files=self.files,
            commands=len(_items(config.get("runcmd"))),
            private_keys=self.private_keys,
        )


def _sniff(content: bytes) -> str:
    """Tell a part's content type from its first characters, as cloud-init does."""
    start = content.lstrip()[:64].lower()
    return next((kind for header, kind in _HEADERS.items() if start.startswith(header)), "")


def _why_ignored(content: bytes) -> tuple[str, str]:
    """Explain to a person what a document without a known header probably is."""
    if content.startswith(_GZIP):
        return "compressed twice, or damaged", "compress it once or, better, not at all"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16 text", "save it as UTF-8"
    if content.startswith(b"\xef\xbb\xbf"):
        return "a byte order mark comes before the header", "save it as UTF-8 without one"
    first = content.lstrip().partition(b"\n")[0].strip()
    if _looks_like_base64(content):
        return "base64, which NoCloud does not decode", "put the decoded document on the seed"
    if re.match(rb"#\s+cloud-config", first, re.IGNORECASE):
        return "a space within the header #cloud-config", "write #cloud-config"
    if re.match(rb"#+\s*template", first):
        return "a misspelt header", "write exactly ## template: jinja"
    if first.startswith(b"---"):
        return "--- comes before the header", "make #cloud-config the first line"
    if first.startswith(b"#"):
        return "a comment comes before the header", "make #cloud-config the first line"
    return "it has no header", "begin it with the line #cloud-config"


def _looks_like_base64(content: bytes) -> bool:
    try:
        decoded = base64.b64decode(b"".join(content.split()), validate=True)
    except ValueError:
        return False
    return bool(_sniff(decoded)) or decoded.startswith(_GZIP) or b"mime-version:" in decoded.lower()


def _check_commands(name: str, document: _Yaml, found: _Findings) -> None:
    for key in ("runcmd", "bootcmd"):
        for index, command in enumerate(_items(document.value.get(key))):
            if not isinstance(command, str | list | None):
                found.warn(
                    name,
                    f"{key}[{index}]: neither text nor a list: cloud-init runs nothing of {key}",
                    "quote the command; an unquoted colon makes it a mapping",
                    document.mark(key, index),
                )


def _encoding(entry: Mapping[Any, Any]) -> str:
    return _word(entry.get("encoding")).lower().strip()


def _content(entry: Mapping[Any, Any], warn: _Warn) -> bytes:
    """Decode what an entry of write_files would write."""
    content = entry.get("content")
    data = content if isinstance(content, bytes) else _word(content).encode()
    steps = _ENCODINGS.get(_encoding(entry))
    if steps is None:
        steps = ()
        warn("encoding", "unknown: the content is written as it stands", "use b64 or gz+b64")
    if "base64" in steps:
        try:
            data = base64.b64decode(data)
        except ValueError:
            warn("content", "not base64: cloud-init stops writing files here", "encode it again")
            return b""
    if "gzip" in steps:
        if not data.startswith(_GZIP):
            warn("content", "not gzip data: cloud-init stops writing files here", "compress it")
        data = _gunzip(data)
    return data


def _mode(permissions: Any, node: yaml.Node | None, warn: _Warn) -> int:
    """Compute the mode as cloud-init does."""
    if permissions is None:
        return _DEFAULT_MODE
    number = isinstance(permissions, int | float)
    try:
        mode = int(permissions) if number else int(_word(permissions), 8)
    except (ValueError, OverflowError):
        mode = -1
    if mode not in _MODES:
        warn("permissions", f"no octal mode: it becomes {_DEFAULT_MODE:04o}", "say '0600'")
        return _DEFAULT_MODE
    # YAML reads 0600 as octal, which is what was meant, but 600 as decimal.
    if number and isinstance(node, yaml.ScalarNode) and not node.value.startswith("0"):
        warn(
            "permissions",
            f"{permissions} without quotes is a decimal number, mode {mode:04o}",
            "quote it: '0600'",
        )
    return mode


def _check_owner(owner: str, deferred: bool, warn: _Warn) -> None:
    for name in filter(None, map(str.strip, owner.split(":", 1))):
        if name.isdecimal():
            warn(
                "owner",
                "a number: cloud-init knows names only, and stops writing files here",
                "give names, such as root:root",
            )
            return
        if not deferred and name not in _BASE_OWNERS:
            warn(
                "owner",
                f"{_shown(name)} may not exist yet: files are written before packages "
                "and users, and cloud-init would stop writing files here",
                "add defer: true, or leave it to root and change the owner later",
            )
            return


def _certificates(content: bytes, warn: _Warn) -> Iterator[CertificateReport]:
    encoded = _CERTIFICATE.findall(content)
    if not encoded:
        return
    from cryptography import x509  # for the few seeds that hold certificates

    for pem in encoded:
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            sans = [
                _shown(str(name.value))
                for extension in certificate.extensions
                if isinstance(extension.value, x509.SubjectAlternativeName)
                for name in extension.value
            ]
            yield CertificateReport(
                subject=_shown(certificate.subject.rfc4514_string()),
                sans=tuple(sans),
                not_after=certificate.not_valid_after_utc,
            )
        # cryptography parses as it goes, and what it raises then is not documented.
        except Exception:
            warn("content", "it holds a certificate that cannot be read", "issue it again")


# --- reading within limits ------------------------------------------------------------


def _gunzip(data: bytes) -> bytes:
    """Decompress, no further than one byte past the limit; return anything else as it is."""
    if data.startswith(_GZIP):
        with suppress(OSError, EOFError, zlib.error):
            return gzip.GzipFile(fileobj=BytesIO(data)).read(_DECODED_LIMIT + 1)
    return data


def _parse(text: str) -> _Yaml:
    """Parse YAML of unknown origin."""
    loader_class = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        # Events come without recursion. libyaml's composer recurses in C: some
        # tens of thousands of brackets overflow its stack and end the process.
        depth = 0
        for count, event in enumerate(yaml.parse(text, Loader=loader_class)):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > _DEPTH_LIMIT or count > _NODE_LIMIT:
                raise _LimitError("nested too deep, or too many values")
        loader = loader_class(text)
        root = loader.get_single_node()
        if root is None:
            return _Yaml({})
        nodes = list(_walk(root))
        if _expanded_size(root) > _EXPANDED_LIMIT:
            raise _LimitError("its aliases (*) expand to too much")
        if any(
            node.tag.endswith((":int", ":float")) and len(node.value) > _DIGIT_LIMIT
            for node in nodes
        ):
            raise _LimitError("a number has too many digits")
        value = loader.construct_document(root)
    except _LimitError:
        raise
    except yaml.MarkedYAMLError as error:
        raise _UnreadableError(error.problem_mark or error.context_mark) from None
    # For scalars like !!int "" PyYAML's constructors raise IndexError, KeyError and more.
    except Exception:
        raise _UnreadableError from None
    children = {
        id(node): {key.value: child for key, child in node.value if _is_scalar(key)}
        for node in nodes
        if isinstance(node, yaml.MappingNode)
    }
    return _Yaml(value, root, children)


def _expanded_size(root: yaml.Node) -> int:
    """Measure a document as if every alias were a copy: aliases of aliases grow like 2**n."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = 0  # for an alias within itself
            parts = (len(node.value),) if _is_scalar(node) else map(size, _children(node))
            sizes[id(node)] = 1 + sum(parts)
        return sizes[id(node)]

    return size(root)


def _walk(root: yaml.Node) -> Iterator[yaml.Node]:
    """Yield every node once, in the order of the document."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen.add(id(node))
            yield node
            waiting += reversed(_children(node))


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _is_scalar(node: yaml.Node) -> TypeGuard[yaml.ScalarNode]:
    return isinstance(node, yaml.ScalarNode)


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _word(value: Any) -> str:
    """Return a scalar as text, and anything else as none."""
    # Python refuses to print integers of thousands of digits; nobody meant one.
    if isinstance(value, int) and value.bit_length() > 64:
        return ""
    return str(value) if isinstance(value, str | int | float | date) else ""


def _shown(value: Any) -> str:
    """Make a text from a seed fit for a terminal: one line, printable and short."""
    text = _word(value)
    text = text if len(text) <= _TEXT_LIMIT else f"{text[:_TEXT_LIMIT]}..."
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
