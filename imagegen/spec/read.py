"""From the text of a spec to its values, with every problem at once."""

from __future__ import annotations

from collections.abc import Callable

from imagegen.base.problems import Problem, raise_errors
from imagegen.spec.checks.etcd import check_data_disk, check_etcd
from imagegen.spec.checks.install import check_install
from imagegen.spec.checks.members import check_reachable, check_size, check_unique
from imagegen.spec.checks.network import check_network
from imagegen.spec.checks.pki import check_pki
from imagegen.spec.checks.user_data import check_extra
from imagegen.spec.kinds import Reader, Record
from imagegen.spec.model import Spec
from imagegen.spec.yaml import compose


def parse_spec(text: str, *, source: str) -> tuple[Spec, tuple[Problem, ...]]:
    """The spec in ``text``, and the warnings about it.

    ``source`` names the text in messages, such as ``cluster.yaml``.

    Raises:
        ProblemsError: with every error found, each with its line and column.
    """
    reader = Reader(source)
    root = compose(text, source)
    reader.visit(root, ())
    spec: Spec | None = Record(Spec).read(root, (), reader)
    if spec is not None:
        for check in CHECKS:
            check(spec, reader)
    raise_errors(reader.problems)
    assert spec is not None  # for mypy: no spec means an error above
    return spec, tuple(reader.problems)


# --- what single settings cannot show ------------------------------------------------
#
# A setting that could not be read is None here and already reported; every
# check passes over it, so that one run shows all there is.

CHECKS: tuple[Callable[[Spec, Reader], None], ...] = (
    check_size,
    check_unique,
    check_reachable,
    check_network,
    check_install,
    check_etcd,
    check_data_disk,
    check_pki,
    check_extra,
)
