"""Changes of YAML text that mostly leave it YAML: blocks, words, settings, aliases."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

WORD = re.compile(r"[^\s\[\]{},:#\"'&*-][^\s\[\]{},#\"']*")
KEY = re.compile(r"\s*(?:- )*([A-Za-z_][\w-]*):")

#: What has broken readers of YAML, of numbers, of addresses and of paths.
HOSTILE = (
    *("''", '""', "~", "null", "yes", "on", "0600", "0o17", "0x1f", "1_000", "1:30", "-0", "+1"),
    *("1e400", "-.inf", ".nan", "9" * 25, "9" * 5000, "0x" + "f" * 5000, "1:" * 900 + "1"),
    *("2026-12-01", "2026-02-30", "2026-12-01T00:00:00Z", "9999-12-31T23:59:59-23:59"),
    *('"0001-01-01T00:00:00+23:59"', '"9999-12-31T23:59:59-23:59"', '"2026-12-01T00:00:00+24:00"'),
    *("!!int ''", "!!int x", "!!float ''", "!!bool x", "!!timestamp x", "!!binary '='", "!!set {}"),
    *("!!python/object/apply:os.system [id]", "!!null x", "!x y", "!!omap [1]", "!!str", "! x"),
    *("../../etc/passwd", "/../..", "/dev/zero", "/proc/self/mem", "/etc/./x", "//x", "-rf", "a/b"),
    *('"\\0"', '"\\e[31m"', '"\\ud800"', '"\\U0001F600"', '"\\u2028"', '"\\ufeff"', '"\\x85"'),
    *("'{{ x }}'", "'${x}'", "'$(id)'", "'`id`'", "'%n%s'", '"\'"', "'\"'", "'\\'", "a" * 300),
    *("&a x", "*a", "<<", "<<: *a", "=", "? x", "- x", "[]", "{}", "[[]]", "{[]: x}", "{a: b}"),
    *("[" * 90 + "]" * 90, "[" * 3000, "{a: " * 90, "|", ">+", "%YAML 1.1", "---", "...", "@", "`"),
)
HONEST = (
    *("10.240.0.12", '"2001:db8::12"', '"::1"', '"fe80::1%eth0"', "10.0.0.0/8", "0.0.0.0/0"),
    *('"::/0"', "10.240.0.11/24", '"2001:db8::1/64"', "10.240.0.1", "255.255.255.255", "224.0.0.1"),
    *('"52:54:00:12:34:57"', "52:54:00:12:34:56", '"01:00:00:00:00:00"', "ens3", "eth0", "true"),
    *("false", "0", "1", "64", "1500", "2379", "2380", "65535", "65536", "-1", "icc-etcd-2", "a"),
    *('"*.example.org"', "/var/lib/etcd", "/var/lib/etcd/data", "/etc/etcd", "http://127.0.0.1:1"),
    *('"http://[::1]:2381"', "http://[", "http://mirror.example.org/debian", "8GiB", "1h", "1000"),
    *('"3.5"', '"3.4.23"', '"3.6.1"', '"3.999999"', "etcd-server=3.5.1", "etcd-server=3.5.16-4"),
    *("etcd-server=x", "ca.pem", "ssh-ed25519 AAAA me", "debian-13", "debian-11", "ETCD_LOG_LEVEL"),
    *("lab", "shared", "separate", "scrub", "split", "external", "'0 '", "'1'", "root"),
)
BOMB = "x0: &x0 [a, a, a, a, a, a, a, a, a, a]\n" + "".join(
    f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]\n" for i in range(1, 12)
)


def mutate(text: str, random: Random, schema: Mapping[str, Any]) -> str:
    """One to four changes; ``schema`` (JSON Schema) says which settings there are, and where."""
    for _ in range(random.choice((1, 1, 2, 4))):
        change = random.choices(CHANGES, WEIGHTS)[0]
        text = change(text, random, schema)
    return text


def _lines(text: str) -> list[str]:
    return text.split("\n")


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _block(lines: Sequence[str], random: Random) -> tuple[int, int]:
    """Some line, and the end of what is nested below it."""
    start = random.randrange(len(lines))
    end = start + 1
    while end < len(lines) and _depth(lines[end]) > _depth(lines[start]):
        end += 1
    return start, end


def _delete(text: str, random: Random, schema: Mapping[str, Any]) -> str:
    lines = _lines(text)
    start, end = _block(lines, random)
    return "\n".join(lines[:start] + lines[end:])


def _copy(text: str, random: Random, schema: Mapping[str, Any]) -> str:
    """Put a block somewhere again, as deep as its new neighbours."""
    lines = _lines(text)
    start, end = _block(lines, random)
    at, _ = _block(lines, random)
    shift = _depth(lines[at]) - _depth(lines[start])
    moved = [" " * max(0, _depth(line) + shift) + line.lstrip(" ") for line in lines[start:end]]
    return "\n".join(lines[:at] + moved + lines[at:])


def _indent(text: str, random: Random, schema: Mapping[str, Any]) -> str:
    lines = _lines(text)
    start, end = _block(lines, random)
    shift = random.choice(("  ", " ", "- ", "\t"))
    lines[start:end] = [shift + line for line in lines[start:end]]
    return "\n".join(lines)


def _replace_word(text: str, random: Random, schema: Mapping[str, Any]) -> str:
    word = WORD.search(text, random.randrange(len(text) + 1)) or WORD.search(text)
    if word is None:
        return text
    other = WORD.search(text, random.randrange(len(text) + 1))
    new = random.choice((random.choice(HONEST), random.choice(HOSTILE), other[0] if other else "x"))
    return text[: word.start()] + new + text[word.end() :]


def _replace_value(text: str, random: Random, schema: Mapping[str, Any]) -> str:
    """Another value for a whole setting, of the kind it has or of another."""
    lines = _lines(text)
    start, end = _block(lines, random)
    key = KEY.match(lines[start])
    if key is None:
        return _replace_word(text, random, schema)
    kind = _schema_at(schema, _path(lines, start)).get("properties", {}).get(key[1], {})
    lines[start:end] = [f"{key[0]} {_value(kind, random)}"]
    return "\n".join(lines)


def _add_setting(text: str, random: Random, schema: Mapping[str, Any]) -> str:
    """A setting that may stand where it is put, in block or in flow style."""
    lines = _lines(text)
    at = random.randrange(len(lines))
    properties = _schema_at(schema, _path(lines, at)).get("properties") or schema["properties"]
    if "{" in lines[at] and (item := _item_at(schema, lines, at).get("properties")):
        name = random.choice(list(item))
        lines[at] = lines[at].replace("{", f"{{{name}: {_value(item[name], random)}, ", 1)
        return "\n".join(lines)
    name = random.choice(list(properties))
    depth = _depth(lines[at]) + 2 * lines[at].lstrip(" ").startswith("- ")
    lines.insert(at + 1, f"{' ' * depth}{name}: {_value(properties[name], random)}")
    return "\n".join(lines)


def _alias(text: str, random: Random, schema: Mapping[str, Any]) -> str:
    """Name one value and use it for another; in one case of three, around itself."""
    words = [w for w in WORD.finditer(text) if text[w.end() : w.end() + 1] in ("", "\n", ",")]
    if len(words) < 2:
        return text
    one, two = sorted(random.sample(words, 2), key=lambda word: word.start())
    if random.random() < 0.3:
        return text[: one.start()] + "&a [*a, " + one[0] + "]" + text[one.end() :]
    start = text[: one.start()] + "&a " + one[0]
    return start + text[one.end() : two.start()] + "*a" + text[two.end() :]


def _bomb(text: str, random: Random, schema: Mapping[str, Any]) -> str:
    where = random.choice(("", "extra_user_data:\n", "members:\n"))
    bomb = BOMB if not where else "".join(f"  {line}\n" for line in BOMB.splitlines())
    levels = random.randrange(1, 13)
    return f"{text}\n{where}" + "\n".join(_lines(bomb)[:levels]) + "\n"


def _byte(text: str, random: Random, schema: Mapping[str, Any]) -> str:
    at = random.randrange(len(text) + 1)
    char = random.choice("\0\t\r\n\x1b\x85\u2028\ufeff\ufffe\U0010ffff'\"\\{}[]:,#&*!|>%@`-? ")
    return text[:at] + char + text[at + random.randrange(2) :]


def _path(lines: Sequence[str], at: int) -> list[str]:
    """The keys around a line, by indentation."""
    path: list[str] = []
    depth = _depth(lines[at])
    for line in reversed(lines[:at]):
        if line.strip() and _depth(line) < depth:
            depth = _depth(line)
            if (key := KEY.match(line)) and line.rstrip().endswith(":"):
                path.insert(0, key[1])
    return path


def _schema_at(schema: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any]:
    for name in path:
        schema = schema.get("properties", {}).get(name) or schema.get("additionalProperties") or {}
        schema = schema.get("items", schema)
    return schema


def _item_at(schema: Mapping[str, Any], lines: Sequence[str], at: int) -> Mapping[str, Any]:
    key = KEY.match(lines[at])
    flow_below_key = [key[1]] if key and "{" not in key[0] else []
    return _schema_at(schema, [*_path(lines, at), *flow_below_key])


def _value(schema: Mapping[str, Any], random: Random, depth: int = 0) -> str:
    """A value of the schema's kind, in flow style; sometimes one that is not."""
    kind = schema.get("type")
    if random.random() < 0.1 or depth > 4:
        return random.choice(HOSTILE)
    if "enum" in schema:
        return str(random.choice(schema["enum"]))
    if kind == "integer":
        least, most = schema["minimum"], schema["maximum"]
        return str(random.choice((least, most, least - 1, most + 1, random.randint(least, most))))
    if kind == "boolean":
        return random.choice(("true", "false"))
    if kind == "array":
        items = [_value(schema["items"], random, depth + 1) for _ in range(random.randrange(3))]
        return f"[{', '.join(items)}]"
    if kind == "object":
        properties = schema.get("properties")
        if properties is None:
            names = random.sample(HONEST, random.randrange(3))
            properties = dict.fromkeys(names, schema["additionalProperties"])
        names = [name for name in properties if random.random() < 0.3]
        chosen = dict.fromkeys([*schema.get("required", ()), *names])
        pairs = (f"{name}: {_value(properties[name], random, depth + 1)}" for name in chosen)
        return f"{{{', '.join(pairs)}}}"
    return random.choice(HONEST)


CHANGES = (
    *(_add_setting, _replace_value, _replace_word, _delete, _copy),
    *(_indent, _alias, _byte, _bomb),
)
WEIGHTS = (6, 6, 6, 3, 3, 1, 1, 1, 0.02)
