"""What we say about ETCD_ variables is what etcd does with them."""

import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagegen.base.problems import Severity
from imagegen.etcd.variables import (
    MANAGED,
    REFUSED,
    SETTINGS,
    Kind,
    Setting,
    Span,
    Version,
    check_combination,
    check_setting,
    check_variable,
)
from tests.conftest import ROOT
from tests.releases import upstream

from .program import Etcd, flags_of, gate_flags_of, gates_of, ignored_flags_of

S = TypeVar("S")
T = TypeVar("T")

BOOKWORM, NOBLE, TRIXIE = Version(3, 4, 23), Version(3, 4, 30), Version(3, 5, 16)

# Something every release takes, for each kind.
BENIGN: Mapping[Kind, str] = {
    Kind.BOOLEAN: "false",
    Kind.INTEGER: "50",
    Kind.DURATION: "10s",
    Kind.RETENTION: "1h",
    Kind.GATES: "InitialCorruptCheck=true",
    Kind.LISTEN: "http://127.0.0.1:23790",
    Kind.ADVERTISE: "http://127.0.0.1:23790",
    Kind.ORIGINS: "*",
    Kind.PATH: "/etc/etcd/file",
    Kind.OUTPUTS: "stderr",
    Kind.NAMES: "one,two",
    Kind.TOKEN: "simple",
    Kind.JSON: '{"maxsize": 1}',
    Kind.TEXT: "text",
}


def benign(setting: Setting) -> str:
    if setting.choices and setting.kind is not Kind.GATES:
        return next(iter(setting.choices))
    return BENIGN[setting.kind] if setting.bounds[1] >= 50 else str(setting.bounds[1])


# --- versions ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("3.5.16", (3, 5, 16)),
        ("3.4", (3, 4, 0)),
        ("v3.6.1", (3, 6, 1)),
        ("3.4.23-4+b4", (3, 4, 23)),
        ("3.5.16+ds-1", (3, 5, 16)),
        ("3.4.30-1ubuntu0.24.04.3", (3, 4, 30)),
        ("1:3.5.30~rc1-2", (3, 5, 30)),
    ],
)
def test_a_version_is_read_as_upstream_and_debian_write_it(
    text: str, version: tuple[int, int, int]
) -> None:
    assert Version.parse(text) == version


@pytest.mark.parametrize("text", ["", "3", "3.", "latest", "3.4.x", "3.4.5.6", "٣.4"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an etcd version"):
        Version.parse(text)


def test_a_backport_counts_only_in_its_branch() -> None:
    span = Span.parse("3.4.25,3.5.8..3.7")
    known = {"3.4.25", "3.4.45", "3.5.8", "3.6.0", "3.6.14"}
    unknown = {"3.4.24", "3.5.0", "3.5.7", "3.7.0", "3.8.0"}
    assert {text for text in known | unknown if span.covers(Version.parse(text))} == known


# --- names ------------------------------------------------------------------


def test_what_we_manage_or_refuse_exists() -> None:
    assert MANAGED.keys() | REFUSED.keys() <= SETTINGS.keys()
    assert not MANAGED.keys() & REFUSED.keys()


def test_every_successor_exists_and_takes_what_it_is_given() -> None:
    for name, setting in SETTINGS.items():
        successor, _, value = setting.instead.partition("=")
        if successor:
            assert setting.span.until, name
            value = value or benign(SETTINGS[successor])
            assert check_variable(successor, value, setting.span.until) == [], name


@pytest.mark.parametrize("typed", ["ETCD_LOG_LEVL", "ETCD_log_level", "log-level", "--log-level"])
def test_an_unknown_name_gets_a_suggestion(typed: str) -> None:
    [(what, hint)] = check_setting(typed, "info", TRIXIE)
    assert what == "etcd knows no such variable"
    assert "did you mean ETCD_LOG_LEVEL?" in hint


def test_a_setting_that_is_yet_to_come_names_its_release() -> None:
    [(what, hint)] = check_setting("ETCD_TLS_MIN_VERSION", "TLS1.3", BOOKWORM)
    assert "new in etcd 3.4.25" in what
    assert "3.4.25" in hint
    assert not check_setting("ETCD_TLS_MIN_VERSION", "TLS1.3", NOBLE)


def test_a_setting_that_is_yet_to_come_names_its_predecessor() -> None:
    [(_, hint)] = check_setting("ETCD_CORRUPT_CHECK_TIME", "1h", TRIXIE)
    assert hint == "use ETCD_EXPERIMENTAL_CORRUPT_CHECK_TIME"
    [(_, hint)] = check_setting("ETCD_FEATURE_GATES", "InitialCorruptCheck=true", TRIXIE)
    assert hint == "use ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK"


def test_a_setting_that_is_gone_names_what_took_its_place() -> None:
    [(what, hint)] = check_setting("ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK", "true", Version(3, 7))
    assert "gone from etcd 3.7 on" in what
    assert hint == "use ETCD_FEATURE_GATES=InitialCorruptCheck=true"


def test_the_cluster_s_own_settings_are_not_the_user_s() -> None:
    [(what, _)] = check_setting("ETCD_NAME", "etcd-1", TRIXIE)
    assert what == "imagegen sets this from the member's name"
    assert not check_variable("ETCD_NAME", "etcd-1", TRIXIE)


@pytest.mark.parametrize(
    ("name", "value", "refused"),
    [
        ("ETCD_UNSAFE_NO_FSYNC", "T", True),
        ("ETCD_UNSAFE_NO_FSYNC", "false", False),
        ("ETCD_STRICT_RECONFIG_CHECK", "0", True),
        ("ETCD_STRICT_RECONFIG_CHECK", "1", False),
        ("ETCD_CONFIG_FILE", "/etc/etcd/etcd.yaml", True),
        ("ETCD_DISCOVERY_SRV", "example.org", True),
        ("ETCD_PROXY", "off", True),
        ("ETCD_PRE_VOTE", "false", False),
    ],
)
def test_what_endangers_the_data_is_refused(name: str, value: str, refused: bool) -> None:
    complaints = check_setting(name, value, TRIXIE)
    assert [what.startswith("refused: ") for what, _ in complaints] == [True] * refused


def test_a_secret_is_refused_without_being_repeated() -> None:
    assert "hunter2" not in str(check_setting("ETCD_DISCOVERY_PASSWORD", "hunter2", Version(3, 6)))


# --- values -----------------------------------------------------------------

# Where etcd and we agree; the tests below ask etcd. Whether a value is good
# follows from the list it is in.
GOOD: tuple[tuple[str, str], ...] = (
    *(("ETCD_PRE_VOTE", value) for value in ("true", "false", "1", "0", "t", "F", "True")),
    ("ETCD_SNAPSHOT_COUNT", "0"),
    ("ETCD_QUOTA_BACKEND_BYTES", "-1"),
    ("ETCD_MAX_CONCURRENT_STREAMS", "4294967295"),
    ("ETCD_GRPC_KEEPALIVE_TIMEOUT", "1h30m.5s"),
    ("ETCD_GRPC_KEEPALIVE_TIMEOUT", "0"),
    ("ETCD_AUTO_COMPACTION_RETENTION", "30m"),
    ("ETCD_AUTO_COMPACTION_RETENTION", "8"),
    ("ETCD_LISTEN_METRICS_URLS", "http://localhost:2381, http://[::1]:2381"),
    ("ETCD_CORS", "*"),
    ("ETCD_CORS", "https://example.org:443"),
    ("ETCD_LOGGER", "zap"),
    *(("ETCD_LOG_LEVEL", level) for level in SETTINGS["ETCD_LOG_LEVEL"].choices),
    *(("ETCD_CIPHER_SUITES", suite) for suite in SETTINGS["ETCD_CIPHER_SUITES"].choices),
    ("ETCD_CIPHER_SUITES", ",".join(SETTINGS["ETCD_CIPHER_SUITES"].choices)),
    ("ETCD_TLS_MIN_VERSION", "TLS1.3"),
    ("ETCD_INITIAL_CLUSTER_STATE", "existing"),
    ("ETCD_AUTO_COMPACTION_MODE", "revision"),
    ("ETCD_LOG_ROTATION_CONFIG_JSON", '{"maxsize": 5}'),
)
BAD: tuple[tuple[str, str], ...] = (
    *(("ETCD_CLIENT_CERT_AUTH", value) for value in ("yes", "on", "tRUE", "2", " true")),
    ("ETCD_SNAPSHOT_COUNT", "many"),
    ("ETCD_SNAPSHOT_COUNT", "-1"),
    ("ETCD_SNAPSHOT_COUNT", "1e5"),
    ("ETCD_ELECTION_TIMEOUT", "60000"),
    ("ETCD_HEARTBEAT_INTERVAL", "0"),
    ("ETCD_MAX_CONCURRENT_STREAMS", "4294967296"),
    ("ETCD_QUOTA_BACKEND_BYTES", "8GiB"),
    ("ETCD_GRPC_KEEPALIVE_TIMEOUT", "5"),
    ("ETCD_GRPC_KEEPALIVE_TIMEOUT", "1d"),
    ("ETCD_GRPC_KEEPALIVE_TIMEOUT", "9999999h"),
    ("ETCD_EXPERIMENTAL_COMPACT_HASH_CHECK_TIME", "0s"),
    ("ETCD_AUTO_COMPACTION_RETENTION", "-5"),
    ("ETCD_AUTO_COMPACTION_RETENTION", "1 h"),
    ("ETCD_LISTEN_METRICS_URLS", "127.0.0.1:2381"),
    ("ETCD_LISTEN_METRICS_URLS", "http://127.0.0.1"),
    ("ETCD_LISTEN_METRICS_URLS", "http://127.0.0.1:2381/metrics"),
    ("ETCD_LISTEN_METRICS_URLS", "http://etcd-1:2381"),
    ("ETCD_ADVERTISE_CLIENT_URLS", "https://141.22.30.352380"),
    ("ETCD_ADVERTISE_CLIENT_URLS", "ftp://10.0.0.5:2379"),
    ("ETCD_INITIAL_CLUSTER_STATE", "New"),
    ("ETCD_AUTO_COMPACTION_MODE", "hourly"),
    ("ETCD_LOG_LEVEL", "loud"),
    ("ETCD_LOGGER", "journald"),
    ("ETCD_CIPHER_SUITES", "ECDHE-RSA-AES128-GCM-SHA256"),
    ("ETCD_TLS_MIN_VERSION", "1.3"),
    ("ETCD_TLS_MAX_VERSION", "TLS1.1"),
)
# etcd takes these too, but not for what they seem to say.
ONLY_WE_OBJECT: tuple[tuple[str, str], ...] = (
    ("ETCD_SNAPSHOT_COUNT", "0100000"),
    ("ETCD_GRPC_KEEPALIVE_TIMEOUT", "-5s"),
    ("ETCD_METRICS", "full"),
    ("ETCD_BCRYPT_COST", "99"),
    ("ETCD_BACKEND_BBOLT_FREELIST_TYPE", "list"),
    ("ETCD_CLIENT_CRL_FILE", "crl.der"),
    ("ETCD_PEER_CERT_ALLOWED_CN", "etcd,"),
    ("ETCD_CIPHER_SUITES", "TLS_AES_128_GCM_SHA256"),
    ("ETCD_CIPHER_SUITES", "TLS_RSA_WITH_RC4_128_SHA"),
    ("ETCD_LISTEN_METRICS_URLS", "http://0.0.0.0:23810"),
    ("ETCD_LISTEN_METRICS_URLS", "http://127.0.0.1:0"),
    # Past our limits; why these are ours stands above the table.
    ("ETCD_METRICS", "nonsense"),
    ("ETCD_BACKEND_BBOLT_FREELIST_TYPE", "nonsense"),
    ("ETCD_EXPERIMENTAL_BACKEND_BBOLT_FREELIST_TYPE", "nonsense"),
    *(("ETCD_BCRYPT_COST", value) for value in ("3", "32")),
    *(("ETCD_MAX_REQUEST_BYTES", value) for value in ("1023", "9223372036854251520")),
    *(("ETCD_QUOTA_BACKEND_BYTES", value) for value in ("-2", "1", "32767", "35184372088833")),
    *(
        ("ETCD_AUTO_COMPACTION_RETENTION", f"{seconds}s")
        for seconds in ("-0.000000001", "0.000000001", "0.999999999")
    ),
    ("ETCD_AUTH_TOKEN_TTL", "9223372037"),
    *(
        (f"ETCD_{experimental}{name}", value)
        for experimental in ("", "EXPERIMENTAL_")
        for name, value in (
            ("WATCH_PROGRESS_NOTIFY_INTERVAL", "8384882400.000000001s"),
            ("BOOTSTRAP_DEFRAG_THRESHOLD_MEGABYTES", "17592186044416"),
            ("COMPACTION_BATCH_LIMIT", "-1"),
        )
    ),
    ("ETCD_BACKEND_BATCH_LIMIT", "-1"),
    ("ETCD_MAX_LEARNERS", "-1"),
    *(
        (name, str(2**63))
        for name in (
            "ETCD_MAX_SNAPSHOTS",
            "ETCD_MAX_WALS",
            "ETCD_MAX_TXN_OPS",
            "ETCD_SELF_SIGNED_CERT_VALIDITY",
            *(
                name
                for name in SETTINGS
                if re.fullmatch("ETCD_PROXY_.*_(WAIT|INTERVAL|TIMEOUT)", name)
            ),
        )
    ),
    *(
        (name, "-0.000000001s")
        for name, setting in SETTINGS.items()
        if setting.kind is Kind.DURATION and setting.bounds[0] == 0
    ),
)
# Read too late in etcd's start for the tests below to see.
LATE_GOOD = (
    ("ETCD_AUTH_TOKEN", "simple"),
    ("ETCD_AUTH_TOKEN", "jwt,pub-key=/a.pub,priv-key=/a,sign-method=RS256,ttl=10m"),
)
LATE_BAD = (
    ("ETCD_AUTH_TOKEN", "jwt"),
    ("ETCD_AUTH_TOKEN", "jwt,pub-key"),
    ("ETCD_AUTH_TOKEN", "token"),
    ("ETCD_LOG_OUTPUTS", "journal"),
    ("ETCD_LOG_ROTATION_CONFIG_JSON", "maxsize=1"),
    ("ETCD_LOG_ROTATION_CONFIG_JSON", "[]"),
)


@pytest.mark.parametrize(("name", "value"), [*GOOD, *LATE_GOOD])
def test_a_good_value_passes(name: str, value: str) -> None:
    assert check_variable(name, value, Version(3, 6)) == []


@pytest.mark.parametrize(("name", "value"), [*BAD, *ONLY_WE_OBJECT, *LATE_BAD])
def test_a_bad_value_is_shown_with_what_was_expected(name: str, value: str) -> None:
    [(what, _)] = check_variable(name, value, oldest_that_knows({name: value}))
    assert re.fullmatch(r"expected .+, got .+", what)
    assert repr(value) in what


def test_an_empty_value_is_no_value() -> None:
    [(what, _)] = check_variable("ETCD_LOG_LEVEL", "", TRIXIE)
    assert "not set" in what


@pytest.mark.parametrize(
    ("value", "version", "fine"),
    [
        ("InitialCorruptCheck=true,CompactHashCheck=1", Version(3, 6), True),
        ("PriorityRequest=true", Version(3, 7), True),
        ("PriorityRequest=true", Version(3, 6), False),
        ("InitialCorruptCheck", Version(3, 6), False),
        ("InitialCorruptCheck=yes", Version(3, 6), False),
        ("initialCorruptCheck=true", Version(3, 6), False),
    ],
)
def test_feature_gates(value: str, version: Version, fine: bool) -> None:
    assert (check_variable("ETCD_FEATURE_GATES", value, version) == []) == fine


@given(st.sampled_from(sorted(SETTINGS)), st.text(max_size=60), st.sampled_from([BOOKWORM, TRIXIE]))
def test_no_value_is_too_odd_to_judge(name: str, value: str, version: Version) -> None:
    check_variable(name, value, version)
    check_combination({name: value}, version)


def test_no_number_is_too_long_to_judge() -> None:
    for value in ("9" * 5000, "9" * 5000 + "h", "1." + "9" * 5000 + "s"):
        for name in ("ETCD_SNAPSHOT_COUNT", "ETCD_AUTO_COMPACTION_RETENTION"):
            assert check_variable(name, value, TRIXIE)


# --- settings together ------------------------------------------------------

TOGETHER_GOOD: tuple[Mapping[str, str], ...] = (
    {"ETCD_ELECTION_TIMEOUT": "500"},
    {"ETCD_HEARTBEAT_INTERVAL": "200"},
    {"ETCD_TLS_MIN_VERSION": "TLS1.2", "ETCD_TLS_MAX_VERSION": "TLS1.3"},
    {"ETCD_AUTO_COMPACTION_MODE": "revision", "ETCD_AUTO_COMPACTION_RETENTION": "1000"},
    {"ETCD_LOG_OUTPUTS": "stdout,stderr", "ETCD_LOGGER": "zap"},
    {"ETCD_LOG_OUTPUTS": "stdout", "ETCD_LOGGER": "capnslog"},
    {"ETCD_DEBUG": "true", "ETCD_LOG_LEVEL": "debug"},
    {
        "ETCD_EXPERIMENTAL_ENABLE_LEASE_CHECKPOINT": "true",
        "ETCD_EXPERIMENTAL_ENABLE_LEASE_CHECKPOINT_PERSIST": "true",
        "ETCD_LOGGER": "capnslog",
    },
    {"ETCD_EXPERIMENTAL_ENABLE_LEASE_CHECKPOINT": "true", "ETCD_LOGGER": "zap"},
    {"ETCD_AUTO_COMPACTION_RETENTION": "2562047"},
    {"ETCD_AUTO_COMPACTION_RETENTION": str(2**63 - 1), "ETCD_AUTO_COMPACTION_MODE": "revision"},
)
TOGETHER_BAD: tuple[Mapping[str, str], ...] = (
    {"ETCD_ELECTION_TIMEOUT": "499"},
    {"ETCD_HEARTBEAT_INTERVAL": "201"},
    {"ETCD_ELECTION_TIMEOUT": "2000", "ETCD_HEARTBEAT_INTERVAL": "500"},
    {
        "ETCD_TLS_MIN_VERSION": "TLS1.3",
        "ETCD_CIPHER_SUITES": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    },
    {"ETCD_TLS_MIN_VERSION": "TLS1.3", "ETCD_TLS_MAX_VERSION": "TLS1.2"},
    {"ETCD_EXPERIMENTAL_ENABLE_LEASE_CHECKPOINT_PERSIST": "true"},
    {"ETCD_EXPERIMENTAL_ENABLE_LEASE_CHECKPOINT": "true", "ETCD_LOGGER": "capnslog"},
    {"ETCD_FEATURE_GATES": "LeaseCheckpointPersist=true"},
    {
        "ETCD_FEATURE_GATES": "CompactHashCheck=true",
        "ETCD_EXPERIMENTAL_COMPACT_HASH_CHECK_ENABLED": "true",
    },
    {"ETCD_LOG_OUTPUTS": "stderr,default", "ETCD_LOGGER": "zap"},
    {"ETCD_LOG_OUTPUTS": "systemd/journal,stderr", "ETCD_LOGGER": "zap"},
    {"ETCD_LOG_OUTPUTS": "stdout,stderr", "ETCD_LOGGER": "capnslog"},
    {"ETCD_LOG_OUTPUTS": "/var/log/etcd.log", "ETCD_LOGGER": "capnslog"},
    {"ETCD_LOG_OUTPUTS": "stderr", "ETCD_LOG_OUTPUT": "stderr"},
    {"ETCD_ENABLE_LOG_ROTATION": "true"},
    {"ETCD_ENABLE_LOG_ROTATION": "true", "ETCD_LOG_OUTPUTS": "/tmp/a.log,/tmp/b.log"},
    {
        "ETCD_LISTEN_CLIENT_URLS": "http://127.0.0.1:23790",
        "ETCD_LISTEN_PEER_URLS": "http://127.0.0.1:23790",
    },
)
# Seen by etcd too late to tell, or not at all: it takes the nanoseconds of an hour for
# 3,600,000,000,000 revisions, and more hours than its durations hold for fewer.
TOGETHER_LATE_BAD: tuple[Mapping[str, str], ...] = (
    {"ETCD_AUTO_COMPACTION_MODE": "revision", "ETCD_AUTO_COMPACTION_RETENTION": "1h"},
    {"ETCD_AUTO_COMPACTION_RETENTION": "2562048"},
    {"ETCD_PEER_CERT_ALLOWED_CN": "etcd", "ETCD_PEER_CERT_ALLOWED_HOSTNAME": "etcd-1"},
    {"ETCD_CORRUPT_CHECK_TIME": "1h", "ETCD_EXPERIMENTAL_CORRUPT_CHECK_TIME": "1h"},
)


def oldest_that_knows(names: Mapping[str, str]) -> Version:
    releases = [Version(3, 4, 45), Version(3, 5, 33), Version(3, 6)]
    return next(v for v in releases if all(SETTINGS[name].span.covers(v) for name in names))


def errors(variables: Mapping[str, str], version: Version) -> list[str]:
    found = check_combination(variables, version)
    assert all(set(names) & variables.keys() for names, _ in found)
    return [problem.what for _, problem in found if problem.severity is Severity.ERROR]


@pytest.mark.parametrize("variables", TOGETHER_GOOD, ids=str)
def test_settings_that_go_together(variables: Mapping[str, str]) -> None:
    assert errors(variables, oldest_that_knows(variables)) == []


@pytest.mark.parametrize("variables", [*TOGETHER_BAD, *TOGETHER_LATE_BAD], ids=str)
def test_settings_that_exclude_each_other(variables: Mapping[str, str]) -> None:
    assert len(errors(variables, oldest_that_knows(variables))) == 1


def test_a_value_that_is_wrong_by_itself_is_not_reported_twice() -> None:
    assert check_combination({"ETCD_ELECTION_TIMEOUT": "1s", "ETCD_NONSENSE": "1"}, TRIXIE) == []


@pytest.mark.parametrize(
    ("name", "value", "version"),
    [
        ("ETCD_QUOTA_BACKEND_BYTES", str(8 * 2**30 + 1), TRIXIE),
        ("ETCD_QUOTA_BACKEND_BYTES", "-1", TRIXIE),
        ("ETCD_LOG_LEVEL", "debug", TRIXIE),
        ("ETCD_DEBUG", "true", BOOKWORM),
        ("ETCD_EXPERIMENTAL_MEMORY_MLOCK", "true", Version(3, 6)),
        ("ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK", "true", Version(3, 6)),
    ],
)
def test_what_works_but_has_a_price_is_a_warning(name: str, value: str, version: Version) -> None:
    [(names, problem)] = check_combination({name: value}, version)
    assert names == (name,)
    assert problem.severity is Severity.WARNING
    assert problem.hint


def test_an_old_name_without_a_new_one_yet_is_no_warning() -> None:
    assert check_combination({"ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK": "true"}, TRIXIE) == []


# --- etcd itself ------------------------------------------------------------

# Values at our limits and past them, for every setting that has limits; the tests below
# ask etcd. ONLY_WE_OBJECT says where it takes what is past one.

# What a setting needs beside it, for etcd to look at it.
COMPANIONS: Mapping[str, Mapping[str, str]] = {
    "ETCD_HEARTBEAT_INTERVAL": {"ETCD_ELECTION_TIMEOUT": "50000"},
    "ETCD_ELECTION_TIMEOUT": {"ETCD_HEARTBEAT_INTERVAL": "1"},
    "ETCD_ENABLE_LOG_ROTATION": {"ETCD_LOG_OUTPUTS": "/dev/stderr"},
    "ETCD_DISTRIBUTED_TRACING_SAMPLING_RATE": {"ETCD_ENABLE_DISTRIBUTED_TRACING": "true"},
    "ETCD_EXPERIMENTAL_DISTRIBUTED_TRACING_SAMPLING_RATE": {
        "ETCD_EXPERIMENTAL_ENABLE_DISTRIBUTED_TRACING": "true"
    },
    "ETCD_EXPERIMENTAL_ENABLE_LEASE_CHECKPOINT_PERSIST": {
        "ETCD_EXPERIMENTAL_ENABLE_LEASE_CHECKPOINT": "true"
    },
}
# With these etcd makes certificates before it looks at its data directory.
MAKES_FILES = ("ETCD_AUTO_TLS", "ETCD_PEER_AUTO_TLS")


def as_duration(nanoseconds: int) -> str:
    return f"{'-' * (nanoseconds < 0)}{abs(nanoseconds) // 10**9}.{abs(nanoseconds) % 10**9:09}s"


def values_at_limits(setting: Setting, version: Version) -> list[str]:
    known = [choice for choice, span in setting.choices.items() if span.covers(version)]
    numbers = sorted({*setting.bounds, *setting.special})
    match setting.kind:
        case Kind.BOOLEAN:
            return ["true", "false", "1", "0", "t", "f", "T", "F", "TRUE", "FALSE", "True", "False"]
        case Kind.INTEGER:
            return list(map(str, numbers))
        case Kind.DURATION:
            return list(map(as_duration, numbers))
        case Kind.RETENTION:
            return [*map(as_duration, numbers), "2562047"]
        case Kind.CHOICE | Kind.CHOICES:
            return known
        case Kind.GATES:
            beside = {"LeaseCheckpointPersist": "LeaseCheckpoint=true,"}
            return [f"{beside.get(gate, '')}{gate}={on}" for gate in known for on in ("true", "0")]
        case _:
            return []


def values_past_limits(setting: Setting, version: Version) -> list[str]:
    unknown = [choice for choice, span in setting.choices.items() if not span.covers(version)]
    numbers = {n + 1 for n in (setting.bounds[1], *setting.special)}
    numbers |= {n - 1 for n in (setting.bounds[0], *setting.special)}
    least, most = setting.bounds
    past = sorted(n for n in numbers - setting.special if not least <= n <= most)
    match setting.kind:
        case Kind.BOOLEAN:
            return ["yes"]
        case Kind.INTEGER:
            return [*map(str, past), str(2**64)]
        case Kind.DURATION:
            return list(map(as_duration, past))
        case Kind.RETENTION:
            return [*map(as_duration, past), "-1", str(2**63)]
        case Kind.CHOICE | Kind.CHOICES:
            return ["nonsense", *unknown]
        case Kind.GATES:
            return ["nonsense=true", "SetMemberLocalAddr=yes", *(f"{g}=true" for g in unknown)]
        case _:
            return []


def limits(etcd: Etcd, values: Callable[[Setting, Version], list[str]]) -> list[tuple[str, str]]:
    return [
        (name, value)
        for name, setting in SETTINGS.items()
        if etcd.knows(name)
        for value in values(setting, etcd.version)
    ]


Value = tuple[str, str]


def together(values: Iterable[Value]) -> dict[str, str]:
    """The variables that set these values, and what they need beside them."""
    return {k: v for name, value in values for k, v in with_companions(name, value).items()}


def with_companions(name: str, value: str) -> dict[str, str]:
    return {name: value, **COMPANIONS.get(name, {})}


def packed(values: Iterable[Value], version: Version) -> list[list[Value]]:
    """All of the values in few starts: together where nothing says that they cannot be."""
    packs: list[tuple[list[Value], dict[str, str]]] = []
    for name, value in values:
        variables = with_companions(name, value)
        for pack, held in packs:
            both = {**held, **variables}
            renamed = any(SETTINGS[one].successor[0] in both for one in both)
            if not held.keys() & variables.keys() and not renamed and not errors(both, version):
                pack.append((name, value))
                held.update(variables)
                break
        else:
            packs.append(([(name, value)], variables))
    return [pack for pack, _ in packs]


def culprits(fine: Callable[[dict[str, str]], bool], pack: list[Value]) -> list[Value]:
    """As small a part of a pack as can be found that is not fine; empty if all of it is."""
    if fine(together(pack)):
        return []
    halves = [pack[::2], pack[1::2]] if len(pack) > 1 else []
    return next(filter(None, (culprits(fine, half) for half in halves)), pack)


def assert_all(
    fine: Callable[[dict[str, str]], bool], values: Iterable[Value], version: Version
) -> None:
    packs = packed(values, version)
    assert list(filter(None, at_once(lambda pack: culprits(fine, pack), packs))) == []


def at_once(judge: Callable[[S], T], starts: Iterable[S]) -> list[T]:
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(judge, starts))


UPSTREAM = ("3.5", "3.6", "3.7")


@pytest.fixture(scope="module", params=["3.4", "3.5", upstream("3.5"), "3.6", "3.7"])
def etcd(request: pytest.FixtureRequest) -> Etcd:
    """Debian 12's, Debian 13's, and upstream's newest of each line."""
    return Etcd.installed(request.param)


@pytest.fixture(scope="module", params=UPSTREAM)
def source(request: pytest.FixtureRequest) -> tuple[Path, Version]:
    """Where the source of upstream's etcd is."""
    built = Etcd.installed(upstream(request.param))
    return built.source, built.version


def variable(flag: str) -> str:
    return "ETCD_" + flag.upper().replace("-", "_")  # FlagToEnv


def test_every_upstream_etcd_is_asked() -> None:
    assert {path.name for path in (ROOT / "tests/real_etcd/upstream").iterdir()} == set(UPSTREAM)


def test_the_flags_in_etcd_s_source_are_those_of_our_table(source: tuple[Path, Version]) -> None:
    folder, version = source
    ours = {name for name, setting in SETTINGS.items() if setting.span.covers(version)}
    assert {variable(flag) for flag in flags_of(folder)} == ours
    assert not {variable(flag) for flag in ignored_flags_of(folder)} & SETTINGS.keys()


def test_the_gates_in_etcd_s_source_are_those_of_our_table(source: tuple[Path, Version]) -> None:
    """AllAlpha and AllBeta stand in a module of its own; the values below show them."""
    folder, version = source
    gates = SETTINGS["ETCD_FEATURE_GATES"]
    ours = {gate for gate, span in gates.choices.items() if span.covers(version)}
    known = ours - {"AllAlpha", "AllBeta"} if gates.span.covers(version) else set()
    assert gates_of(folder) == known
    for flag, gate in gate_flags_of(folder).items():
        assert SETTINGS[variable(flag)].instead == f"ETCD_FEATURE_GATES={gate}=true"


def test_a_source_that_defines_flags_in_another_way_is_not_read_past(tmp_path: Path) -> None:
    for folder in ("embed", "etcdmain"):
        (tmp_path / folder).mkdir()
    config = tmp_path / "etcdmain/config.go"
    known = [f'\tfs.StringVar(&x, "flag-{n}", "", "What it does.")\n' for n in range(200)]
    whole = "\tflag.NewFlagSet()\n" + "".join(known)
    config.write_text(whole)
    assert len(flags_of(tmp_path)) == 200
    for new in ('\tfs.Func("new", "", f)\n', "\tfs.StringVar(&x, name, f())\n\n", "\tmore(fs)\n"):
        config.write_text(whole + new)
        with pytest.raises(AssertionError):
            flags_of(tmp_path)
    config.write_text("\tflag.NewFlagSet()\n" + "".join(known[:50]))
    with pytest.raises(AssertionError, match="only 50 flags"):
        flags_of(tmp_path)


def test_etcd_knows_exactly_what_we_say_it_knows(etcd: Etcd) -> None:
    """ETCD_CONFIG_FILE is not among them: with it, etcd reads no other variable."""
    everything = {name: benign(setting) for name, setting in SETTINGS.items()}
    del everything["ETCD_CONFIG_FILE"]
    everything["ETCD_NONSENSE"] = "1"
    unknown = {name for name in SETTINGS if not etcd.knows(name)} | {"ETCD_NONSENSE"}
    assert etcd.unrecognized(everything) == unknown


def test_etcd_takes_an_empty_value_for_none(etcd: Etcd) -> None:
    assert etcd.unrecognized({"ETCD_PRE_VOTE": ""}) == {"ETCD_PRE_VOTE"}


def test_etcd_takes_every_value_up_to_our_limits(etcd: Etcd) -> None:
    values = [*limits(etcd, values_at_limits), *((n, v) for n, v in GOOD if etcd.knows(n))]
    assert [v for v in values if check_variable(*v, etcd.version)] == []
    assert_all(etcd.takes, (v for v in values if v[0] not in MAKES_FILES), etcd.version)


def test_etcd_refuses_what_is_past_our_limits(etcd: Etcd) -> None:
    """But what is in ONLY_WE_OBJECT."""
    past = [*limits(etcd, values_past_limits), *((n, v) for n, v in BAD if etcd.knows(n))]
    assert [v for v in past if not check_variable(*v, etcd.version)] == []
    refused = [value for value in past if value not in ONLY_WE_OBJECT]
    taken = at_once(lambda value: etcd.takes(with_companions(*value)), refused)
    assert [value for value, fine in zip(refused, taken, strict=True) if fine] == []


def test_where_we_are_stricter_etcd_would_go_on(etcd: Etcd) -> None:
    values = [value for value in ONLY_WE_OBJECT if etcd.knows(value[0])]
    assert [v for v in values if not check_variable(*v, etcd.version)] == []
    assert_all(etcd.takes, values, etcd.version)


def test_etcd_takes_and_refuses_the_same_settings_together(etcd: Etcd) -> None:
    starts = [
        dict(variables)
        for variables in (*TOGETHER_GOOD, *TOGETHER_BAD)
        if etcd.knows(*variables)
        and all(not check_variable(*variable, etcd.version) for variable in variables.items())
    ]
    fine = [errors(variables, etcd.version) == [] for variables in starts]
    assert list(zip(starts, at_once(etcd.takes, starts), strict=True)) == list(
        zip(starts, fine, strict=True)
    )


few_starts = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(st.text("0123456789.nmushd", min_size=1, max_size=8))
@few_starts
def test_we_read_durations_as_etcd_does(etcd: Etcd, value: str) -> None:
    name = "ETCD_GRPC_KEEPALIVE_TIMEOUT"
    assert etcd.takes({name: value}) == (check_variable(name, value, etcd.version) == [])


@given(st.from_regex(r"[tTfF01][rRaA]?(ue|UE|lse|LSE)?", fullmatch=True))
@few_starts
def test_we_read_booleans_as_etcd_does(etcd: Etcd, value: str) -> None:
    name = "ETCD_PRE_VOTE"
    assert etcd.takes({name: value}) == (check_variable(name, value, etcd.version) == [])


# --- members that run -------------------------------------------------------

# With these etcd waits for tens of seconds before it elects itself: an election is
# awaited for up to two time-outs.
SLOW = ("ETCD_HEARTBEAT_INTERVAL", "ETCD_ELECTION_TIMEOUT")
# What shows only once a member runs: values past our limits, and what etcd says then.
DEADLY: tuple[tuple[str, str, str], ...] = (
    ("ETCD_MAX_REQUEST_BYTES", "0", "request is too large"),
    ("ETCD_MAX_REQUEST_BYTES", "1", "request is too large"),
    ("ETCD_MAX_REQUEST_BYTES", str(2**63 - 1), "received message larger than max"),
    ("ETCD_QUOTA_BACKEND_BYTES", "20000", "database space exceeded"),
    ("ETCD_QUOTA_BACKEND_BYTES", str(2**47), "failed to open database"),
    ("ETCD_AUTO_COMPACTION_RETENTION", "1ns", "panic: .*divide by zero"),
    ("ETCD_AUTO_COMPACTION_RETENTION", "9ns", "panic: .*divide by zero"),
    ("ETCD_WATCH_PROGRESS_NOTIFY_INTERVAL", "2562047h", "panic: non-positive interval"),
    ("ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL", "2562047h", "non-positive interval"),
    ("ETCD_CORRUPT_CHECK_TIME", "-1s", "panic: non-positive interval"),
    ("ETCD_MAX_LEARNERS", "-1", "too many learner members"),
    ("ETCD_MAX_SNAPSHOTS", str(2**64 - 1), "panic: .*index out of range"),
)
# Where only some releases do not live with it.
DEADLY_FROM_3_6: tuple[tuple[str, str, str], ...] = (
    ("ETCD_MAX_REQUEST_BYTES", "150", "failed to publish local member.*request is too large"),
)


def test_a_member_serves_with_every_number_at_its_limit(etcd: Etcd, tmp_path: Path) -> None:
    """Alone, with the longest name and URL that a spec can give it."""
    values = [
        (name, value)
        for name, value in limits(etcd, values_at_limits)
        if SETTINGS[name].kind in (Kind.INTEGER, Kind.DURATION, Kind.RETENTION, Kind.GATES)
        and name not in SLOW
        and not name.startswith(("ETCD_DISCOVERY", "ETCD_PROXY"))
    ]

    def trouble(pack: dict[str, str]) -> str | None:
        with TemporaryDirectory(dir=tmp_path) as folder:
            return etcd.trouble(pack, Path(folder))

    assert_all(lambda pack: not trouble(pack), values, etcd.version)


def test_a_member_does_not_serve_past_a_limit_that_is_ours(etcd: Etcd, tmp_path: Path) -> None:
    newer = DEADLY_FROM_3_6 if etcd.version >= (3, 6) else ()
    values = [value for value in (*DEADLY, *newer) if etcd.knows(value[0])]

    def trouble(value: tuple[str, str, str]) -> str:
        name, number, expected = value
        with TemporaryDirectory(dir=tmp_path) as folder:
            return etcd.trouble({name: number}, Path(folder), expected=expected) or "it serves"

    for (name, value, expected), text in zip(values, at_once(trouble, values), strict=True):
        assert re.search(expected, text), (name, value, text[-2000:])
        assert check_variable(name, value, etcd.version), (name, value)
