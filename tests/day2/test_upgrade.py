"""imagegen.day2.upgrade: what is said before anything is written."""

from __future__ import annotations

from imagegen.base.problems import Severity
from imagegen.build.load import load_spec
from imagegen.build.options import Options
from imagegen.day2.upgrade import upgrade
from tests.conftest import NOW
from tests.live.test_findings import Site
from tests.releases import install_section


def test_a_release_that_lacks_fixes_is_no_place_to_go(tmp_path):
    """It may follow on what runs, so it is a warning, with the release that has the fixes."""
    site = Site(tmp_path, etcd="3.5")
    try:
        site.form()
        for version, words in {
            "3.5.29": ["etcd 3.5.29 lacks fixes that 3.5.33 has"],
            "3.5.33": [],
        }.items():
            site.path.write_text(site.spec_with(install_section(version)))
            loaded = load_spec(site.path, now=NOW)
            options = Options(now=NOW, pki=site.root, output=tmp_path / "out")
            plan = upgrade(loaded, options, dry_run=True)
            found = [problem for problem in plan.warnings if problem not in loaded.warnings]
            assert [problem.severity for problem in found] == [Severity.WARNING] * len(words)
            assert all(w in problem.what for w, problem in zip(words, found, strict=True))
    finally:
        site.lab.close()
