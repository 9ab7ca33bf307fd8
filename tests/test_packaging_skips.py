"""The count of skipped tests, by which a continuous-integration run fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from skips import main

REPORT = """<testsuites><testsuite>
<testcase classname="a" name="runs" />
<testcase classname="a" name="cuda"><skipped message="gpu: no CUDA device here" /></testcase>
<testcase classname="b" name="data"><skipped message="TUNER_DATA_DIR is unset: no" /></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def report(tmp_path: Path) -> str:
    path = tmp_path / "tests.xml"
    path.write_text(REPORT)
    return str(path)


def test_skips_are_counted_by_kind(report: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([report]) == 0
    assert capsys.readouterr().out == "skipped: 2\n  1 x TUNER_DATA_DIR is unset\n  1 x gpu\n"


def test_a_skip_of_another_kind_fails_and_is_named(report: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([report, "--allow", "gpu"]) == 1
    assert "not allowed to skip: b::data (TUNER_DATA_DIR is unset: no)" in capsys.readouterr().err
    assert main([report, "--allow", "gpu", "TUNER_DATA_DIR is unset"]) == 0


def test_a_missing_report_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "tests.xml"), "--allow", "gpu"]) == 1
    assert "the tests did not run" in capsys.readouterr().err
