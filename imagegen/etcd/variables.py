"""What ETCD_ variables each etcd knows, and what their values may be.

etcd only warns about a variable it does not know, and exits on a value it
cannot read. Both are cheaper to hear from us than from a machine that does not
come up. Read from etcd's source from 3.4.0 on, for ``--help`` leaves settings out; our
tests read the names again in the source of upstream's newest 3.5, 3.6 and 3.7, and
try values at and past each limit on these and on Debian's 3.4 and 3.5.

We are stricter than etcd where it would quietly do something else than what is
written: a relative path, an octal number, an unknown metrics level.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from functools import cache
from typing import NamedTuple

from imagegen.base.problems import Problem, Severity


class Version(NamedTuple):
    """A release of etcd."""

    major: int
    minor: int
    patch: int = 0

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read ``3.5.16`` or a package's version, ``3.5.16+ds-1``.

        Without a patch level it is the first of its branch: what that knows,
        all its successors know.
        """
        match = re.fullmatch(r"(?:\d+:)?v?(\d+)\.(\d+)(?:\.(\d+))?(?:[-+~].*)?", text, re.ASCII)
        if not match:
            raise ValueError(f"{text!r} is not an etcd version such as 3.5.16")
        major, minor, patch = match.groups(default="0")
        return cls(int(major), int(minor), int(patch))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    @property
    def branch(self) -> str:
        """The release branch, ``3.5``."""
        return f"{self.major}.{self.minor}"


class Span(NamedTuple):
    """The releases that know something.

    ``since`` names the first release of each branch that got it, ``until`` the
    branch that dropped it. Without them, all of our table's releases know it.
    """

    since: tuple[Version, ...] = ()
    until: Version | None = None

    @classmethod
    @cache  # the table says the same few spans over and over
    def parse(cls, text: str) -> Span:
        """Read the table's notation: ``3.4.25,3.5.8..3.7``, where 3.7 no longer counts."""
        since, _, until = text.partition("..")
        firsts = tuple(Version.parse(first) for first in since.split(",") if first)
        return cls(firsts, Version.parse(until) if until else None)

    def covers(self, version: Version) -> bool:
        """Whether the release knows it; branches after the last one named all do."""
        if self.until and version >= self.until:
            return False
        same_branch = [first for first in self.since if first[:2] == version[:2]]
        return not self.since or version >= (same_branch or self.since)[-1]


class Kind(StrEnum):
    """How a value is read."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    DURATION = "duration"
    RETENTION = "retention"
    CHOICE = "choice"
    CHOICES = "choices"
    GATES = "gates"
    LISTEN = "listen"
    ADVERTISE = "advertise"
    ORIGINS = "origins"
    PATH = "path"
    OUTPUTS = "outputs"
    NAMES = "names"
    TOKEN = "token"  # noqa: S105 - a kind of value, not a secret
    JSON = "json"
    TEXT = "text"


class Setting(NamedTuple):
    """One variable: how its value is read, and which releases read it."""

    kind: Kind
    span: Span
    bounds: tuple[int, int]
    """Of a number, or of a duration in nanoseconds; of a retention, if it is a duration."""
    special: frozenset[int]
    """Values outside of the bounds that mean something of their own, such as 0 for off."""
    choices: Mapping[str, Span]
    instead: str
    """What takes its place where it is no more."""

    @property
    def successor(self) -> tuple[str, str]:
        """``instead``, taken apart: the variable, and the gate or value it names."""
        variable, _, value = self.instead.partition("=")
        return variable, value.removesuffix("=true")


class Refusal(NamedTuple):
    """Why no member of ours gets a variable; ``value`` narrows that to one boolean."""

    value: bool | None
    why: str
    instead: str


_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_DURATION_PART = r"(?=\.?[0-9])([0-9]{0,19})(?:\.([0-9]{0,18}))?(ns|us|ms|s|m|h)"


# What fits the nanoseconds of a Go duration.
_MOST_HOURS = (2**63 - 1) // _NANOSECONDS["h"]


def _parse_duration(value: str) -> int | None:
    """Nanoseconds of a duration as Go writes it, without a sign."""
    if value == "0":
        return 0
    if not re.fullmatch(f"(?:{_DURATION_PART})+", value):
        return None
    total = 0
    for whole, fraction, unit in re.findall(_DURATION_PART, value):
        total += int(f"0{whole}{fraction}") * _NANOSECONDS[unit] // int(10 ** len(fraction))
    return total


# Every variable that a release from 3.4 to 3.7 knows, other than to ignore it:
# its name without ETCD_, its kind, the releases that know it, and its bounds or
# choices. A choice may have releases of its own; what stands before | is allowed too.
#
# Some bounds are not etcd's own, which takes more and then does not live with it, or
# does something else. Seen with real etcd from 3.4 to 3.7, or read in the source of 3.6:
#
# * MAX_REQUEST_BYTES. From 3.6 on a member publishes its name and client URLs by a
#   request under this limit (publishV3, processInternalRaftRequestOnce), and serves nobody
#   before that; 3.4 and 3.5 then refuse every write. The longest name and URL that a spec
#   can give a member need 151 to 160 bytes. 1024 is room for both as DNS names of 253.
#   At most: with 512 KiB more it has to fit Go's int (grpcOverheadBytes), or gRPC refuses
#   every request.
# * QUOTA_BACKEND_BYTES. A database without a key has 20480 bytes, in pages of 4096, and
#   a quota below that refuses every write. At most: etcd maps a tenth more than the quota
#   into its address space of 2^47 bytes; with 2^46, 3.6 and 3.7 did not always start.
#   0 is the default, -1 no quota.
# * AUTO_COMPACTION_RETENTION. etcd divides by a tenth of it, and so panics below 10ns. It
#   starts to count before the member can compact: with 10ns 3.5 crashed.
# * WATCH_PROGRESS_NOTIFY_INTERVAL. etcd adds up to a tenth, and the sum has to fit an int64,
#   or the first watch makes it panic.
# * AUTH_TOKEN_TTL is turned into nanoseconds, BOOTSTRAP_DEFRAG_THRESHOLD_MEGABYTES into
#   bytes: larger numbers overflow.
# * What is unsigned in etcd is mostly cast to int: above 2^63-1, MAX_SNAPSHOTS panics, and
#   MAX_TXN_OPS lets nothing through. What is signed: with MAX_LEARNERS below 0, etcd exits.
# * A duration below 0 turns most things off, and panics as CORRUPT_CHECK_TIME.
_TABLE = """
# a member by itself
NAME                                 text     ..
DATA_DIR                             path     ..
WAL_DIR                              path     ..
CONFIG_FILE                          path     ..
LISTEN_PEER_URLS                     listen   ..
LISTEN_CLIENT_URLS                   listen   ..
LISTEN_CLIENT_HTTP_URLS              listen   3.4.25,3.5.8..
LISTEN_METRICS_URLS                  listen   ..
MAX_SNAPSHOTS                        integer  ..
MAX_WALS                             integer  ..
SNAPSHOT_COUNT                       integer  ..             0..18446744073709551615
SNAPSHOT_CATCHUP_ENTRIES             integer  3.6..          0..18446744073709551615
HEARTBEAT_INTERVAL                   integer  ..             1..10000
ELECTION_TIMEOUT                     integer  ..             5..50000
INITIAL_ELECTION_TICK_ADVANCE        boolean  ..
PRE_VOTE                             boolean  ..
QUOTA_BACKEND_BYTES                  integer  ..             -1|0|32768..35184372088832
BACKEND_BATCH_INTERVAL               duration ..
BACKEND_BATCH_LIMIT                  integer  ..
BACKEND_BBOLT_FREELIST_TYPE          choice   3.5..          array map
BOOTSTRAP_DEFRAG_THRESHOLD_MEGABYTES integer  3.6..          0..17592186044415
MEMORY_MLOCK                         boolean  3.6..
UNSAFE_NO_FSYNC                      boolean  3.4.10..

# requests and connections
MAX_TXN_OPS                    integer  ..
MAX_REQUEST_BYTES              integer  ..             1024..9223372036854251519
MAX_CONCURRENT_STREAMS         integer  3.4.20,3.5.5.. 0..4294967295
GRPC_KEEPALIVE_MIN_TIME        duration ..
GRPC_KEEPALIVE_INTERVAL        duration ..
GRPC_KEEPALIVE_TIMEOUT         duration ..
SOCKET_REUSE_PORT              boolean  3.5..
SOCKET_REUSE_ADDRESS           boolean  3.5..
RAFT_READ_TIMEOUT              duration 3.5..
RAFT_WRITE_TIMEOUT             duration 3.5..
WATCH_PROGRESS_NOTIFY_INTERVAL duration 3.6..          0..2329134h
WARNING_APPLY_DURATION         duration 3.6..
WARNING_UNARY_REQUEST_DURATION duration 3.6..
ENABLE_GRPC_GATEWAY            boolean  ..
CORS                           origins  ..
HOST_WHITELIST                 names    ..

# the cluster
INITIAL_ADVERTISE_PEER_URLS        advertise ..
ADVERTISE_CLIENT_URLS              advertise ..
INITIAL_CLUSTER                    text      ..
INITIAL_CLUSTER_STATE              choice    ..          new existing
INITIAL_CLUSTER_TOKEN              text      ..
STRICT_RECONFIG_CHECK              boolean   ..
FORCE_NEW_CLUSTER                  boolean   ..
MAX_LEARNERS                       integer   3.6..
DOWNGRADE_CHECK_TIME               duration  3.6..
NEXT_CLUSTER_VERSION_COMPATIBLE    boolean   3.4.31..3.5
DISCOVERY                          text      ..3.7
DISCOVERY_PROXY                    text      ..3.7
DISCOVERY_FALLBACK                 text      ..
DISCOVERY_SRV                      text      ..
DISCOVERY_SRV_NAME                 text      ..
DISCOVERY_ENDPOINTS                names     3.6..
DISCOVERY_TOKEN                    text      3.6..
DISCOVERY_DIAL_TIMEOUT             duration  3.6..
DISCOVERY_REQUEST_TIMEOUT          duration  3.6..
DISCOVERY_KEEPALIVE_TIME           duration  3.6..
DISCOVERY_KEEPALIVE_TIMEOUT        duration  3.6..
DISCOVERY_INSECURE_TRANSPORT       boolean   3.6..
DISCOVERY_INSECURE_SKIP_TLS_VERIFY boolean   3.6..
DISCOVERY_CERT                     path      3.6..
DISCOVERY_KEY                      path      3.6..
DISCOVERY_CACERT                   path      3.6..
DISCOVERY_USER                     text      3.6..
DISCOVERY_PASSWORD                 text      3.6..

# the API and the proxy of etcd 2
ENABLE_V2                boolean ..3.6
EXPERIMENTAL_ENABLE_V2V3 text    ..3.6
V2_DEPRECATION           text    3.5..
PROXY                    text    ..3.6
PROXY_FAILURE_WAIT       integer ..3.6
PROXY_REFRESH_INTERVAL   integer ..3.6
PROXY_DIAL_TIMEOUT       integer ..3.6
PROXY_WRITE_TIMEOUT      integer ..3.6
PROXY_READ_TIMEOUT       integer ..3.6

# certificates and users
CERT_FILE                         path    ..
KEY_FILE                          path    ..
CLIENT_CERT_FILE                  path    3.5..
CLIENT_KEY_FILE                   path    3.5..
CLIENT_CERT_AUTH                  boolean ..
CLIENT_CERT_ALLOWED_HOSTNAME      names   ..
CLIENT_CRL_FILE                   path    ..
TRUSTED_CA_FILE                   path    ..
AUTO_TLS                          boolean ..
PEER_CERT_FILE                    path    ..
PEER_KEY_FILE                     path    ..
PEER_CLIENT_CERT_FILE             path    3.5..
PEER_CLIENT_KEY_FILE              path    3.5..
PEER_CLIENT_CERT_AUTH             boolean ..
PEER_CERT_ALLOWED_CN              names   ..
PEER_CERT_ALLOWED_HOSTNAME        names   ..
PEER_CRL_FILE                     path    ..
PEER_TRUSTED_CA_FILE              path    ..
PEER_AUTO_TLS                     boolean ..
PEER_SKIP_CLIENT_SAN_VERIFICATION boolean 3.6..
SELF_SIGNED_CERT_VALIDITY         integer 3.5..
CIPHER_SUITES                     choices ..
TLS_MIN_VERSION                   choice  3.4.25,3.5.8.. TLS1.2 TLS1.3
TLS_MAX_VERSION                   choice  3.4.25,3.5.8.. TLS1.2 TLS1.3
AUTH_TOKEN                        token   ..
AUTH_TOKEN_TTL                    integer 3.4.10.. 0..9223372036
BCRYPT_COST                       integer ..             4..31

# logs, metrics and traces
LOGGER                            choice  ..    zap capnslog(..3.5)
LOG_LEVEL                         choice  ..    debug info warn error dpanic panic fatal
LOG_FORMAT                        choice  3.6.. json console
LOG_OUTPUTS                       outputs ..
ENABLE_LOG_ROTATION               boolean 3.5..
LOG_ROTATION_CONFIG_JSON          json    3.5..
DEBUG                             boolean ..3.5
LOG_OUTPUT                        outputs ..3.5
LOG_PACKAGE_LEVELS                text    ..3.5
METRICS                           choice  ..    basic extensive
ENABLE_PPROF                      boolean ..
ENABLE_DISTRIBUTED_TRACING        boolean 3.6..
DISTRIBUTED_TRACING_ADDRESS       text    3.6..
DISTRIBUTED_TRACING_SERVICE_NAME  text    3.6..
DISTRIBUTED_TRACING_INSTANCE_ID   text    3.6..
DISTRIBUTED_TRACING_SAMPLING_RATE integer 3.6.. 0..1000000

# compaction and consistency
AUTO_COMPACTION_MODE      choice    ..    periodic revision
AUTO_COMPACTION_RETENTION retention ..    0|1s..
COMPACTION_BATCH_LIMIT    integer   3.6..
COMPACTION_SLEEP_INTERVAL duration  3.6..
CORRUPT_CHECK_TIME        duration  3.6..
COMPACT_HASH_CHECK_TIME   duration  3.6.. 1ns..
FEATURE_GATES             gates     3.6..

# experimental: 3.6 knows both these names and their successors
EXPERIMENTAL_BACKEND_BBOLT_FREELIST_TYPE          choice   ..3.5             array map
EXPERIMENTAL_BOOTSTRAP_DEFRAG_THRESHOLD_MEGABYTES integer  3.5..3.7          0..17592186044415
EXPERIMENTAL_COMPACT_HASH_CHECK_ENABLED           boolean  3.5.5..3.7
EXPERIMENTAL_COMPACT_HASH_CHECK_TIME              duration 3.5.5..3.7        1ns..
EXPERIMENTAL_COMPACTION_BATCH_LIMIT               integer  ..3.7
EXPERIMENTAL_COMPACTION_SLEEP_INTERVAL            duration 3.5.16..3.7
EXPERIMENTAL_CORRUPT_CHECK_TIME                   duration ..3.7
EXPERIMENTAL_DISTRIBUTED_TRACING_ADDRESS          text     3.5..3.7
EXPERIMENTAL_DISTRIBUTED_TRACING_INSTANCE_ID      text     3.5..3.7
EXPERIMENTAL_DISTRIBUTED_TRACING_SAMPLING_RATE    integer  3.5.11..3.7       0..1000000
EXPERIMENTAL_DISTRIBUTED_TRACING_SERVICE_NAME     text     3.5..3.7
EXPERIMENTAL_DOWNGRADE_CHECK_TIME                 duration 3.5..3.7
EXPERIMENTAL_ENABLE_DISTRIBUTED_TRACING           boolean  3.5..3.7
EXPERIMENTAL_ENABLE_LEASE_CHECKPOINT              boolean  ..3.7
EXPERIMENTAL_ENABLE_LEASE_CHECKPOINT_PERSIST      boolean  3.4.20,3.5.2..3.7
EXPERIMENTAL_INITIAL_CORRUPT_CHECK                boolean  ..3.7
EXPERIMENTAL_MEMORY_MLOCK                         boolean  3.5..3.7
EXPERIMENTAL_PEER_SKIP_CLIENT_SAN_VERIFICATION    boolean  ..3.7
EXPERIMENTAL_SNAPSHOT_CATCHUP_ENTRIES             integer  3.5.14..3.7       0..18446744073709551615
EXPERIMENTAL_STOP_GRPC_SERVICE_ON_DEFRAG          boolean  3.5.14..3.7
EXPERIMENTAL_TXN_MODE_WRITE_WITH_SHARED_BUFFER    boolean  3.5..3.7
EXPERIMENTAL_WARNING_APPLY_DURATION               duration 3.4.16..3.7
EXPERIMENTAL_WARNING_UNARY_REQUEST_DURATION       duration 3.6..3.7
EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL       duration 3.4.11..3.7       0..2329134h
"""

_CHOICES = {
    "ETCD_FEATURE_GATES": """
        AllAlpha AllBeta CompactHashCheck FastLeaseKeepAlive(3.7..) InitialCorruptCheck
        LeaseCheckpoint LeaseCheckpointPersist PriorityRequest(3.7..) SetMemberLocalAddr
        StopGRPCServiceOnDefrag TxnModeWriteWithSharedBuffer
    """,
    # Those Go does not call insecure. TLS 1.3's are not here: Go lets nobody choose them.
    "ETCD_CIPHER_SUITES": """
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
        TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305 TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305
        TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA
        TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA
    """,
}

# What took a variable's place. Other experimental ones only lost that word.
_SUCCESSORS = {
    "ETCD_DEBUG": "ETCD_LOG_LEVEL=debug",
    "ETCD_LOG_OUTPUT": "ETCD_LOG_OUTPUTS",
    "ETCD_LOG_PACKAGE_LEVELS": "ETCD_LOG_LEVEL",
    **{
        f"ETCD_EXPERIMENTAL_{flag}": f"ETCD_FEATURE_GATES={gate}=true"
        for flag, gate in {
            "COMPACT_HASH_CHECK_ENABLED": "CompactHashCheck",
            "ENABLE_LEASE_CHECKPOINT": "LeaseCheckpoint",
            "ENABLE_LEASE_CHECKPOINT_PERSIST": "LeaseCheckpointPersist",
            "INITIAL_CORRUPT_CHECK": "InitialCorruptCheck",
            "STOP_GRPC_SERVICE_ON_DEFRAG": "StopGRPCServiceOnDefrag",
            "TXN_MODE_WRITE_WITH_SHARED_BUFFER": "TxnModeWriteWithSharedBuffer",
        }.items()
    },
}


def _read_limit(text: str) -> int:
    duration = _parse_duration(text)
    return int(text) if duration is None else duration


def _read_table() -> dict[str, Setting]:
    rows = [line.split() for line in _TABLE.splitlines() if line and line[0] != "#"]
    names = {f"ETCD_{row[0]}" for row in rows}
    settings = {}
    for row in rows:
        name, kind, span = f"ETCD_{row[0]}", Kind(row[1]), Span.parse(row[2])
        values = row[3:] or _CHOICES.get(name, "").split()
        bounds, special = (0, 2**63 - 1), frozenset[int]()
        if kind in (Kind.INTEGER, Kind.DURATION, Kind.RETENTION) and values:
            *others, limits = values.pop().split("|")
            least, _, most = limits.partition("..")
            bounds = (_read_limit(least), _read_limit(most) if most else bounds[1])
            special = frozenset(map(_read_limit, others))
        choices = (value.rstrip(")").partition("(") for value in values)
        successor = name.replace("_EXPERIMENTAL_", "_")
        renamed = successor != name and successor in names
        settings[name] = Setting(
            kind=kind,
            span=span,
            bounds=bounds,
            special=special,
            choices={choice: Span.parse(releases) for choice, _, releases in choices},
            instead=successor if renamed else _SUCCESSORS.get(name, ""),
        )
    return settings


#: Every variable, by its full name.
SETTINGS: Mapping[str, Setting] = _read_table()

#: What imagegen derives, each with what it derives it from. Anything else here
#: would make a member that does not fit its certificates or its cluster.
MANAGED: Mapping[str, str] = {
    "ETCD_NAME": "the member's name",
    "ETCD_DATA_DIR": "the data directory",
    # The start check looks for the log where the spec says it is.
    "ETCD_WAL_DIR": "the directory of the write-ahead log",
    "ETCD_LISTEN_PEER_URLS": "the member's address and the peer port",
    "ETCD_LISTEN_CLIENT_URLS": "the member's address and the client port",
    "ETCD_INITIAL_ADVERTISE_PEER_URLS": "the member's address and the peer port",
    "ETCD_ADVERTISE_CLIENT_URLS": "the member's address and the client port",
    "ETCD_INITIAL_CLUSTER": "the list of members",
    "ETCD_INITIAL_CLUSTER_STATE": "whether the member is new to its cluster",
    "ETCD_INITIAL_CLUSTER_TOKEN": "the cluster's token",
    **dict.fromkeys(
        (
            "ETCD_CERT_FILE",
            "ETCD_KEY_FILE",
            "ETCD_CLIENT_CERT_FILE",
            "ETCD_CLIENT_KEY_FILE",
            "ETCD_CLIENT_CERT_AUTH",
            "ETCD_TRUSTED_CA_FILE",
            "ETCD_PEER_CERT_FILE",
            "ETCD_PEER_KEY_FILE",
            "ETCD_PEER_CLIENT_CERT_FILE",
            "ETCD_PEER_CLIENT_KEY_FILE",
            "ETCD_PEER_CLIENT_CERT_AUTH",
            "ETCD_PEER_CERT_ALLOWED_CN",
            "ETCD_PEER_CERT_ALLOWED_HOSTNAME",
            "ETCD_PEER_TRUSTED_CA_FILE",
        ),
        "the layout of certificates",
    ),
}

_NO_DISCOVERY = Refusal(None, "the members know each other from the start", "list them in the spec")
_NO_V2 = Refusal(None, "it belongs to the API of etcd 2, gone in 3.6", "use the v3 API")
_NO_AUTO_TLS = Refusal(
    True, "certificates a member makes for itself prove nothing", "imagegen brings certificates"
)
_NO_SAN_SKIP = Refusal(
    True,
    "any machine that holds a peer certificate could then pass for another",
    "the certificates made here name their member's addresses",
)

#: What no member of ours is started with.
REFUSED: Mapping[str, Refusal] = {
    "ETCD_CONFIG_FILE": Refusal(
        None, "etcd would then ignore every other setting", "put its settings here one by one"
    ),
    "ETCD_UNSAFE_NO_FSYNC": Refusal(
        True, "a power cut would lose acknowledged writes", "use a faster disk"
    ),
    "ETCD_FORCE_NEW_CLUSTER": Refusal(
        True,
        "at each start it would drop every other member",
        "restore a snapshot, see etcd's disaster recovery guide",
    ),
    "ETCD_STRICT_RECONFIG_CHECK": Refusal(
        False, "a change of members could then cost the quorum", "leave it on"
    ),
    "ETCD_ENABLE_PPROF": Refusal(
        True, "it shows the server's memory to every client", "profile a test cluster"
    ),
    "ETCD_AUTO_TLS": _NO_AUTO_TLS,
    "ETCD_PEER_AUTO_TLS": _NO_AUTO_TLS,
    "ETCD_PEER_SKIP_CLIENT_SAN_VERIFICATION": _NO_SAN_SKIP,
    "ETCD_EXPERIMENTAL_PEER_SKIP_CLIENT_SAN_VERIFICATION": _NO_SAN_SKIP,
    "ETCD_ENABLE_V2": _NO_V2._replace(value=True),
    "ETCD_EXPERIMENTAL_ENABLE_V2V3": _NO_V2,
    "ETCD_V2_DEPRECATION": _NO_V2,
    **{name: _NO_V2 for name in SETTINGS if name.startswith("ETCD_PROXY")},
    **{name: _NO_DISCOVERY for name in SETTINGS if name.startswith("ETCD_DISCOVERY")},
}


def check_setting(name: str, value: str, version: Version) -> list[tuple[str, str]]:
    """What is wrong with an extra setting of the user's, each with a hint."""
    if name in MANAGED:
        return [(f"imagegen sets this from {MANAGED[name]}", "remove it, and change that instead")]
    refusal = REFUSED.get(name)
    if refusal and (refusal.value is None or refusal.value is _BOOLEANS.get(value)):
        return [(f"refused: {refusal.why}", refusal.instead)]
    return check_variable(name, value, version)


def check_variable(name: str, value: str, version: Version) -> list[tuple[str, str]]:
    """What etcd itself would not make sense of, each with a hint."""
    setting = SETTINGS.get(name)
    if setting is None:
        return [("etcd knows no such variable", _hint_for_unknown(name))]
    if not setting.span.covers(version):
        return [_complain_about_version(name, value, version)]
    if not value:
        return [("is empty, which etcd takes for not set", "give it a value, or remove it")]
    known = {choice: span for choice, span in setting.choices.items() if span.covers(version)}
    if complaint := _CHECKS[setting.kind](value, setting._replace(choices=known)):
        expected, hint = complaint
        return [(f"expected {expected}, got {value!r}", hint)]
    return []


def check_combination(
    settings: Mapping[str, str], version: Version
) -> list[tuple[tuple[str, ...], Problem]]:
    """What settings do to each other, and what they do that is worth a warning.

    Each problem comes with the variables it is about. Values that are wrong by
    themselves are left to :func:`check_variable`.
    """
    sound = {
        name: value for name, value in settings.items() if not check_variable(name, value, version)
    }
    return [
        (names, Problem(where=", ".join(names), what=what, hint=hint, severity=severity))
        for severity, checks in _COMBINATIONS.items()
        for check in checks
        for names, what, hint in check(sound, version)
    ]


def _hint_for_unknown(name: str) -> str:
    from difflib import get_close_matches  # slow to import, and only mistakes need it

    # A command line says --log-level, a configuration file log-level.
    spelled = "ETCD_" + name.strip("-").replace("-", "_").upper().removeprefix("ETCD_")
    guesses = get_close_matches(spelled, SETTINGS, n=1, cutoff=0.8)
    advice = f"did you mean {guesses[0]}?" if guesses else "remove it:"
    return f"{advice} etcd only warns about what it does not know, and goes on without"


def _complain_about_version(name: str, value: str, version: Version) -> tuple[str, str]:
    span, instead = SETTINGS[name].span, SETTINGS[name].instead
    if span.until and version >= span.until:
        return (
            f"is gone from etcd {span.until.branch} on, and this is for {version}",
            f"use {instead}" if instead else "remove it",
        )
    first = next(first for first in span.since if first > version)
    predecessors = [
        old
        for old, setting in SETTINGS.items()
        if setting.successor[0] == name
        and setting.successor[1] in value
        and setting.span.covers(version)
    ]
    return (
        f"is new in etcd {first}, and this is for {version}, where it would do nothing",
        f"use {', '.join(predecessors)}" if predecessors else f"remove it, or install {first}",
    )


# --- values -----------------------------------------------------------------

Complaint = tuple[str, str] | None
"""What was expected, with a hint; None if the value is fine."""

# Go's strconv.ParseBool, to the letter.
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}

_URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
_EXPECTED_URLS = ("URLs", "write scheme://host:port, such as https://10.0.0.5:2379, and no path")

_STREAMS = ("default", "stdout", "stderr", "systemd/journal")
_CAPNSLOG_OUTPUTS = (["default"], ["stdout"], ["stderr"])


def _check_boolean(value: str, _: Setting) -> Complaint:
    return None if value in _BOOLEANS else ("true or false", "yes, no, on and off stop etcd")


def _check_integer(value: str, setting: Setting) -> Complaint:
    if re.fullmatch(r"0|-?[1-9][0-9]{0,19}", value) and _within(int(value), setting):
        return None
    octal = re.match(r"0[0-9]", value)
    hint = "etcd reads a number with a leading zero as octal" if octal else ""
    least, most = setting.bounds
    others = "".join(f", or {other}" for other in sorted(setting.special))
    return f"a whole number from {least} to {most}{others}", hint


def _check_duration(value: str, setting: Setting) -> Complaint:
    nanoseconds = _parse_duration(value)
    if nanoseconds is not None and _within(nanoseconds, setting):
        return None
    least, most = setting.bounds
    limits = {1: " above 0"}.get(least, f" of at least {_show_duration(least)}" if least else "")
    if most < 2**63 - 1:
        limits += f" of at most {_show_duration(most)}"
    others = "".join(f", or {other}" for other in sorted(setting.special))
    return f"a duration{limits}{others}", "write numbers with units, such as 500ms, 10s or 1h30m"


def _within(number: int, setting: Setting) -> bool:
    least, most = setting.bounds
    return least <= number <= most or number in setting.special


def _show_duration(nanoseconds: int) -> str:
    """As Go reads it, in the largest unit that divides it."""
    units = sorted(_NANOSECONDS.items(), key=lambda unit: unit[1])
    name, size = [unit for unit in units if nanoseconds % unit[1] == 0][-1]
    return f"{nanoseconds // size}{name}"


def _check_retention(value: str, setting: Setting) -> Complaint:
    number = setting._replace(bounds=(0, 2**63 - 1))
    if _check_integer(value, number) and (complaint := _check_duration(value, setting)):
        return f"a number of hours or revisions, or {complaint[0]}", "such as 1h or 1000"
    return None


def _check_choice(value: str, setting: Setting) -> Complaint:
    return None if value in setting.choices else (f"one of {', '.join(setting.choices)}", "")


def _check_choices(value: str, setting: Setting) -> Complaint:
    complaints = (_check_choice(item, setting) for item in value.split(","))
    return next(filter(None, complaints), None)


def _check_gates(value: str, setting: Setting) -> Complaint:
    for gate in value.split(","):
        name, _, state = gate.partition("=")
        if complaint := _check_choice(name, setting):
            return complaint
        if state not in _BOOLEANS:
            return f"{name}=true or {name}=false", "separate several by commas"
    return None


def _check_listen_urls(value: str, _: Setting) -> Complaint:
    urls = _split_urls(value)
    for scheme, host, _port in urls:
        loopback = _is_loopback(host)
        if loopback is None:
            return "URLs with addresses", "etcd listens on no name but localhost"
        if scheme == "http" and not loopback:
            return "https, except on this machine's loopback", "use https, or 127.0.0.1"
    return None if urls else _EXPECTED_URLS


def _check_advertise_urls(value: str, _: Setting) -> Complaint:
    return None if _split_urls(value) else _EXPECTED_URLS


def _check_origins(value: str, _: Setting) -> Complaint:
    return None if value == "*" or _split_urls(value) else _EXPECTED_URLS


def _split_urls(value: str) -> list[tuple[str, str, str]]:
    """Scheme, host and port of each URL; nothing if any is malformed."""
    urls = []
    for url in value.split(","):
        match = _URL.fullmatch(url.strip(" "))
        if not match or not 0 < int(match[3]) < 2**16:
            return []
        urls.append((match[1], match[2].strip("[]"), match[3]))
    return urls


def _is_loopback(host: str) -> bool | None:
    """Whether the host is this machine alone; None for a name."""
    from ipaddress import ip_address  # takes longer to import than all of this module

    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return None


def _check_path(value: str, _: Setting) -> Complaint:
    return None if value.startswith("/") else ("an absolute path", "")


def _check_outputs(value: str, _: Setting) -> Complaint:
    if all(output in _STREAMS or output.startswith("/") for output in value.split(",")):
        return None
    return f"absolute paths, or any of {', '.join(_STREAMS)}", "separate several by commas"


def _check_names(value: str, _: Setting) -> Complaint:
    # etcd strips no blanks, and an empty name fits a certificate without one.
    if all(name and name == name.strip() for name in value.split(",")):
        return None
    return "names separated by commas", "leave out blanks and empty names"


def _check_auth_token(value: str, _: Setting) -> Complaint:
    if value == "simple" or re.fullmatch(r"jwt(?=.*,sign-method=)(,[a-z-]+=[^,=]+)+", value):
        return None
    return "simple, or jwt and its options", "such as jwt,priv-key=/FILE,sign-method=ES256"


def _check_json(value: str, _: Setting) -> Complaint:
    import json  # only one setting holds any

    try:
        whole = isinstance(json.loads(value), dict)
    except ValueError:
        whole = False
    return None if whole else ("a JSON object", """such as '{"maxsize": 100, "maxbackups": 5}'""")


def _check_text(_: str, __: Setting) -> Complaint:
    return None


_CHECKS: Mapping[Kind, Callable[[str, Setting], Complaint]] = {
    Kind.BOOLEAN: _check_boolean,
    Kind.INTEGER: _check_integer,
    Kind.DURATION: _check_duration,
    Kind.RETENTION: _check_retention,
    Kind.CHOICE: _check_choice,
    Kind.CHOICES: _check_choices,
    Kind.GATES: _check_gates,
    Kind.LISTEN: _check_listen_urls,
    Kind.ADVERTISE: _check_advertise_urls,
    Kind.ORIGINS: _check_origins,
    Kind.PATH: _check_path,
    Kind.OUTPUTS: _check_outputs,
    Kind.NAMES: _check_names,
    Kind.TOKEN: _check_auth_token,
    Kind.JSON: _check_json,
    Kind.TEXT: _check_text,
}


# --- settings together ------------------------------------------------------

Finding = tuple[tuple[str, ...], str, str]
"""The variables concerned, what is wrong, and a hint."""


def _check_timing(settings: Mapping[str, str], _version: Version) -> Iterator[Finding]:
    election = int(settings.get("ETCD_ELECTION_TIMEOUT", "1000"))
    heartbeat = int(settings.get("ETCD_HEARTBEAT_INTERVAL", "100"))
    if election < 5 * heartbeat:
        yield (
            ("ETCD_ELECTION_TIMEOUT", "ETCD_HEARTBEAT_INTERVAL"),
            f"an election timeout of {election} ms is less than five heartbeats of {heartbeat} ms",
            f"use at least {5 * heartbeat}, better {10 * heartbeat}",
        )


def _check_tls(settings: Mapping[str, str], _version: Version) -> Iterator[Finding]:
    least, most = settings.get("ETCD_TLS_MIN_VERSION"), settings.get("ETCD_TLS_MAX_VERSION")
    if least == "TLS1.3" and "ETCD_CIPHER_SUITES" in settings:
        yield (
            ("ETCD_CIPHER_SUITES", "ETCD_TLS_MIN_VERSION"),
            "cipher suites cannot be chosen for TLS 1.3",
            "remove them, or allow TLS1.2",
        )
    if (least, most) == ("TLS1.3", "TLS1.2"):
        yield (
            ("ETCD_TLS_MIN_VERSION", "ETCD_TLS_MAX_VERSION"),
            "the lowest TLS version is above the highest",
            "swap them",
        )
    by_name = ("ETCD_PEER_CERT_ALLOWED_CN", "ETCD_PEER_CERT_ALLOWED_HOSTNAME")
    if settings.keys() >= set(by_name):
        yield by_name, "etcd checks peers by one kind of name, not by two", "remove one of them"


def _check_compaction(settings: Mapping[str, str], _version: Version) -> Iterator[Finding]:
    retention = settings.get("ETCD_AUTO_COMPACTION_RETENTION", "0")
    is_number = retention.isdigit()
    if settings.get("ETCD_AUTO_COMPACTION_MODE") == "revision":
        if not is_number:
            # etcd takes the nanoseconds of a duration for a number of revisions.
            yield (
                ("ETCD_AUTO_COMPACTION_RETENTION", "ETCD_AUTO_COMPACTION_MODE"),
                f"{retention} is not a number of revisions: nothing would ever be compacted",
                "use a number, or the mode periodic",
            )
    elif is_number and int(retention) > _MOST_HOURS:
        yield (
            ("ETCD_AUTO_COMPACTION_RETENTION",),
            f"{retention} hours are more than etcd can count: it would compact at another time",
            f"use at most {_MOST_HOURS}, or the mode revision",
        )


def _check_leases(settings: Mapping[str, str], version: Version) -> Iterator[Finding]:
    gates = _enabled_gates(settings)
    if "LeaseCheckpointPersist" in gates and not gates.keys() & {"LeaseCheckpoint", "AllAlpha"}:
        yield (
            (gates["LeaseCheckpointPersist"],),
            "lease checkpoints cannot be kept unless they are made",
            "turn LeaseCheckpoint on too",
        )
    persist = "ETCD_EXPERIMENTAL_ENABLE_LEASE_CHECKPOINT_PERSIST"
    if (
        settings.get("ETCD_LOGGER") == "capnslog"
        and SETTINGS[persist].span.covers(version)
        and "LeaseCheckpoint" in gates
        and "LeaseCheckpointPersist" not in gates
    ):
        # It warns that they are not kept, by a logger that is not there.
        yield (
            (gates["LeaseCheckpoint"], "ETCD_LOGGER"),
            "with capnslog, etcd crashes if lease checkpoints are made and not kept",
            f"use zap, or turn {persist} on too",
        )


def _enabled_gates(settings: Mapping[str, str]) -> dict[str, str]:
    """The feature gates that are on, each with the variable that turns it on."""
    gates = {}
    for gate in settings.get("ETCD_FEATURE_GATES", "").split(","):
        name, _, state = gate.partition("=")
        if _BOOLEANS.get(state):
            gates[name] = "ETCD_FEATURE_GATES"
    for name, value in settings.items():
        variable, gate = SETTINGS[name].successor
        if variable == "ETCD_FEATURE_GATES" and _BOOLEANS[value]:
            gates[gate] = name
    return gates


def _check_renamed(settings: Mapping[str, str], _version: Version) -> Iterator[Finding]:
    for name in settings:
        successor, gate = SETTINGS[name].successor
        both = successor in settings and gate in settings[successor]
        # The log level is no mere renaming: it may stand beside what it replaces.
        if both and successor != "ETCD_LOG_LEVEL":
            yield (name, successor), f"{name} is the old name of {successor}", f"remove {name}"


def _check_logs(settings: Mapping[str, str], _version: Version) -> Iterator[Finding]:
    outputs = settings.get("ETCD_LOG_OUTPUTS", "default").split(",")
    if len(outputs) > 1 and {"default", "systemd/journal"} & set(outputs):
        yield (
            ("ETCD_LOG_OUTPUTS",),
            "default and systemd/journal go with no other output",
            "use stderr, whose lines systemd passes on to the journal",
        )
    elif settings.get("ETCD_LOGGER") == "capnslog" and outputs not in _CAPNSLOG_OUTPUTS:
        yield (
            ("ETCD_LOG_OUTPUTS", "ETCD_LOGGER"),
            "capnslog writes to either stdout or stderr",
            "use zap",
        )
    files = sum(output.startswith("/") for output in outputs)
    if _BOOLEANS.get(settings.get("ETCD_ENABLE_LOG_ROTATION", "")) and files != 1:
        yield (
            ("ETCD_ENABLE_LOG_ROTATION", "ETCD_LOG_OUTPUTS"),
            "log rotation needs exactly one file among the outputs",
            "name one in ETCD_LOG_OUTPUTS",
        )


def _check_addresses(settings: Mapping[str, str], _version: Version) -> Iterator[Finding]:
    users: dict[tuple[str, str], str] = {}
    for name in settings:
        if SETTINGS[name].kind is Kind.LISTEN:
            for _scheme, host, port in _split_urls(settings[name]):
                other = users.setdefault((host, port), name)
                if other != name:
                    yield (name, other), f"{host} port {port} is taken twice", "use another port"


def _warn_of_risks(settings: Mapping[str, str], _version: Version) -> Iterator[Finding]:
    quota = int(settings.get("ETCD_QUOTA_BACKEND_BYTES", "0"))
    if quota < 0:
        yield (
            ("ETCD_QUOTA_BACKEND_BYTES",),
            "without a quota the database grows until the disk is full",
            "give it a size",
        )
    if quota > 8 * 2**30:
        yield (
            ("ETCD_QUOTA_BACKEND_BYTES",),
            f"a quota of {quota} bytes is above the 8 GiB that etcd recommends at most",
            "use 8589934592 or less, and no more than the machine's memory",
        )
    if settings.get("ETCD_LOG_LEVEL") == "debug":
        yield (
            ("ETCD_LOG_LEVEL",),
            "with debug logs etcd also shows its memory at /debug/pprof, to every client",
            "use info, except to look for something",
        )


def _warn_of_deprecation(settings: Mapping[str, str], version: Version) -> Iterator[Finding]:
    for name in settings:
        setting = SETTINGS[name]
        successor = SETTINGS.get(setting.successor[0])
        if setting.span.until and successor and successor.span.covers(version):
            branch = setting.span.until.branch
            yield (name,), f"{name} is gone from etcd {branch} on", f"use {setting.instead}"


_COMBINATIONS: Mapping[
    Severity, tuple[Callable[[Mapping[str, str], Version], Iterator[Finding]], ...]
] = {
    Severity.ERROR: (
        _check_timing,
        _check_tls,
        _check_compaction,
        _check_leases,
        _check_renamed,
        _check_logs,
        _check_addresses,
    ),
    Severity.WARNING: (_warn_of_risks, _warn_of_deprecation),
}
