"""The operator's own cloud-config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from imagegen.base.problems import Severity
from imagegen.spec.draft import Draft, PathProblem
from imagegen.spec.model import APPENDED, Apt, Ntp

#: Keys of cloud-config that decide who a member is, or that its image must not change.
NOT_EXTRA: Mapping[str, str] = {
    **dict.fromkeys(
        ("hostname", "fqdn", "preserve_hostname"), "a machine is called as its member is"
    ),
    "manage_etc_hosts": "list names for /etc/hosts under `hosts`",
    "network": "user-data cannot set up the network; see the spec's `network`",
}


def extra_problems(draft: Draft) -> Iterator[PathProblem]:
    """extra_user_data leaves alone what imagegen or another setting decides."""
    taken = {
        "apt": draft.get(Apt, "install", "apt") and "install.apt",
        "ntp": draft.get(Ntp, "ntp") and "ntp",
    }
    for path, value in draft.each(object, "extra_user_data", str):
        key = str(path[-1])
        if key in NOT_EXTRA:
            yield PathProblem(path, "is set by imagegen", NOT_EXTRA[key])
        elif setting := taken.get(key):
            yield PathProblem(path, f"{setting} sets it already", "keep one of the two")
        elif key in APPENDED and not isinstance(value, list):
            yield PathProblem(
                path, "must be a list", "it is appended to a list that imagegen writes"
            )
        elif "PRIVATE KEY-----" in str(value):
            what, hint = "holds a private key", "it travels in user-data wherever that goes"
            yield PathProblem(path, what, hint, Severity.WARNING)


def extra_file_problems(draft: Draft) -> Iterator[PathProblem]:
    """Each file has a path."""
    for path, file in draft.each(object, "extra_user_data", "write_files", int):
        if not isinstance(file, dict) or not isinstance(file.get("path"), str):
            yield PathProblem(
                path,
                "must be a mapping with a path that is text",
                'such as {path: /etc/motd, content: "..."}',
            )


def extra_user_problems(draft: Draft) -> Iterator[PathProblem]:
    """Each user is listed in one place."""
    named = {name for _, name in draft.each(str, "users", int, "name")}
    for path, user in draft.each(object, "extra_user_data", "users", int):
        name = user.get("name") if isinstance(user, dict) else user
        if isinstance(name, str) and name in named:
            yield PathProblem(path, f"{name} is in `users` already", "keep one")
