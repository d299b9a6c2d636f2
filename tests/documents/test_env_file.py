"""Environment files mean the same to systemd, to a shell and to us."""

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from imagegen.documents.env_file import parse_env, quote_env
from tests.conftest import require_program

GENERATOR = "/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator"

ASTRAL_NONCHARACTERS = "".join(
    chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF)
)
UNREADABLE = "\0\ufeff" + ASTRAL_NONCHARACTERS + "".join(map(chr, range(0xFDD0, 0xFDF0)))

# All of it, and often enough the few characters that mean something.
texts = st.one_of(
    st.text(st.characters(exclude_characters=UNREADABLE, exclude_categories=["Cs"])),
    st.text("a ~[]#;$`'\"\\=\t\n\r!%*\x01\x7f\x88é\x81"),
)

# A fresh directory per example would change nothing: each example writes its file anew.
peer_settings = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read_by_systemd(text: str, directory: Path) -> str:
    """The value of X as systemd's own parser reads it.

    Reading environment.d is the one thing that parser does outside PID 1. It
    expands ``$`` afterwards, passes over empty values, and prints the result
    with C escapes.
    """
    folder = directory / "environment.d"
    folder.mkdir(exist_ok=True)
    (folder / "one.conf").write_bytes(text.encode())
    result = subprocess.run(
        [require_program(GENERATOR)],
        env={"XDG_CONFIG_HOME": str(directory)},
        capture_output=True,
        check=True,
    )
    line = re.search(r'^X="?(.*?)"?$', result.stdout.decode(), re.MULTILINE)
    return _unescape_c(line[1]) if line else ""


def _unescape_c(text: str) -> str:
    named = dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))
    return re.sub(
        r"\\(?:([0-7]{3})|(.))",
        lambda escape: chr(int(escape[1], 8)) if escape[1] else named.get(escape[2], escape[2]),
        text,
    )


def test_ordinary_values_stay_as_they_are() -> None:
    """/etc/default/etcd is read by people."""
    for value in ("true", "https://10.0.0.5:2379,https://[fd00::5]:2379", "a=https://a:2380", "1h"):
        assert quote_env(value) == value


def test_quoting_adds_no_more_than_it_must() -> None:
    assert quote_env("") == "''"
    assert quote_env('{"maxsize": 100}') == """'{"maxsize": 100}'"""
    assert quote_env("it's $5") == r'''"it's \$5"'''
    assert quote_env("~etcd") == "'~etcd'"


@given(texts)
def test_every_text_survives(value: str) -> None:
    assert parse_env(f"A=1\nX={quote_env(value)}\nB=2\n") == {"A": "1", "X": value, "B": "2"}


@given(texts)
@example("'\"$HOME`\\")
@peer_settings
def test_a_shell_reads_the_same(tmp_path: Path, value: str) -> None:
    (tmp_path / "etcd").write_bytes(f"X={quote_env(value)}\n".encode())
    result = subprocess.run(
        [require_program("sh"), "-c", '. ./etcd; printf %s "$X"'],
        cwd=tmp_path,
        env={},
        capture_output=True,
        check=True,
    )
    assert result.stdout.decode() == value


@given(texts)
@peer_settings
def test_systemd_reads_the_same(tmp_path: Path, value: str) -> None:
    undone_by_expansion = value.replace("$", "$$")
    assert read_by_systemd(f"X={quote_env(undone_by_expansion)}\n", tmp_path) == value


@given(st.text("ab #;'\"\\\t\n\r\x01é"))
@example("a \\")
@example('"\\')
@example("'a' \"b\"c'd' \\\r e \t\n")
@peer_settings
def test_we_read_what_systemd_reads(tmp_path: Path, value: str) -> None:
    """Any text, well-formed or not. One assignment, for the peer skips empty ones."""
    try:
        ours = parse_env(f"X={value}")
    except ValueError:
        return  # a comment that ends in a backslash; see below
    assert ours == {"X": read_by_systemd(f"X={value}", tmp_path)}


def test_what_is_no_assignment_is_passed_over() -> None:
    text = "# X=1\n; X=2\n\nX\nexport X=3\n1X=4\n X = 5 \nX=6"
    assert parse_env(text) == {"X": "6"}


def test_a_comment_does_not_end_in_a_backslash() -> None:
    """Whether the next line counts depends on systemd's version."""
    with pytest.raises(ValueError, match="ends in a backslash"):
        parse_env("# C:\\\nX=1\n")


@given(st.sampled_from(UNREADABLE + "\ud800\udfff"))
def test_what_systemd_cannot_take_is_refused(char: str) -> None:
    with pytest.raises(ValueError, match=f"U\\+{ord(char):04X}"):
        quote_env(f"a{char}")


def test_systemd_really_cannot_take_it(tmp_path: Path) -> None:
    assert read_by_systemd("X=a\n", tmp_path) == "a"
    for char in ("\ufdd0", "\uffff", "\U0001fffe"):
        with pytest.raises(subprocess.CalledProcessError):
            read_by_systemd(f"X=a{char}\n", tmp_path)
