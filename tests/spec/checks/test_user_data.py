"""imagegen.spec.checks.user_data: extra_user_data leaves other settings alone."""

from __future__ import annotations

import pytest

from imagegen.base.problems import Severity
from tests.spec.specs import PLAIN, Fault, assert_named, problems_of

FAULTS = {
    "a file whose path is a list": Fault(
        PLAIN + "extra_user_data:\n  write_files:\n    - {path: /a}\n    - path: [[]]\n",
        ("c.yaml:9:7", "extra_user_data.write_files[1]", "a path that is text"),
    ),
    "a file that is none": Fault(
        PLAIN + "extra_user_data: {write_files: [/a]}\n",
        ("extra_user_data.write_files[0]", "must be a mapping"),
    ),
    "key of ours in extra_user_data": Fault(
        PLAIN + "extra_user_data: {hostname: x}\n", ("extra_user_data.hostname", "set by imagegen")
    ),
    "network in extra_user_data": Fault(
        PLAIN + "extra_user_data: {network: {}}\n", ("extra_user_data.network", "cannot set up")
    ),
    "extra_user_data against install.apt": Fault(
        PLAIN + "install: {apt: {proxy: 'http://p'}}\nextra_user_data: {apt: {}}\n",
        ("extra_user_data.apt", "install.apt"),
    ),
    "extra commands that are no list": Fault(
        PLAIN + "extra_user_data: {runcmd: reboot}\n", ("extra_user_data.runcmd", "list")
    ),
    "extra user twice": Fault(
        PLAIN + "users: [{name: me}]\nextra_user_data: {users: [default, {name: me}]}\n",
        ("extra_user_data.users[1]", "me"),
    ),
    "private key in extra_user_data": Fault(
        PLAIN + "extra_user_data: {write_files: [{path: /k, content: '-----BEGIN PRIVATE "
        "KEY-----'}]}\n",
        ("extra_user_data.write_files", "private key"),
        Severity.WARNING,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name):
    """Each fault has a message of its own, with a place and a hint."""
    assert_named(FAULTS[name])


def test_a_user_whose_name_is_no_text_is_not_compared():
    """That is cloud-init's to judge, as all of extra_user_data."""
    users = "users: [{name: us}]\nextra_user_data: {users: [{name: [us]}, [us], {name: us}]}\n"
    found = problems_of(PLAIN + users)
    assert [problem for problem in found if "users[2]: us is in `users` already" in problem]
    assert len(found) == 1
