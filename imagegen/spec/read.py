"""From the text of a spec to its values, with every problem at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from imagegen.base.problems import Problem, raise_errors
from imagegen.spec.checks import etcd, install, members, network, pki, user_data
from imagegen.spec.draft import Draft, PathProblem
from imagegen.spec.kinds import UNREAD, Reader
from imagegen.spec.model import Spec
from imagegen.spec.records import Record
from imagegen.spec.yaml import compose

#: What a single setting cannot show. Each passes over what could not be read.
CHECKS: tuple[Callable[[Draft], Iterator[PathProblem]], ...] = (
    members.size_problems,
    members.repetition_problems,
    members.client_problems,
    members.loopback_problems,
    network.nic_problems,
    network.network_problems,
    install.mode_problems,
    install.source_problems,
    install.release_problems,
    etcd.distribution_problems,
    etcd.pin_problems,
    etcd.setting_problems,
    etcd.combination_problems,
    etcd.data_disk_problems,
    pki.layout_problems,
    pki.lifetime_problems,
    pki.import_problems,
    user_data.extra_problems,
    user_data.extra_file_problems,
    user_data.extra_user_problems,
)


def parse_spec(text: str, *, source: str) -> tuple[Spec, tuple[Problem, ...]]:
    """The spec in ``text``, and the warnings about it.

    ``source`` names the text in messages, such as ``cluster.yaml``.

    Raises:
        ProblemsError: with every error found, each with its line and column.
    """
    reader = Reader(source)
    spec = reader.read(Record(Spec), compose(text, source), ())
    for check in CHECKS:
        for problem in check(reader.draft):
            reader.add(problem)
    problems = tuple(reader.problems)
    raise_errors(problems)
    assert spec is not UNREAD  # for mypy: what could not be read is an error
    return spec, problems
