"""Exit statuses as verdicts, and commands that cannot be run."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.bisect.command import check_command, run_command, verdict_of
from prov.bisect.search import Verdict
from prov.errors import ProvError


@pytest.mark.parametrize(
    ("code", "verdict"), [(0, "good"), (1, "bad"), (124, "bad"), (125, "skip"), (127, "bad")]
)
def test_verdict(code: int, verdict: Verdict) -> None:
    assert verdict_of(code) == verdict


@pytest.mark.parametrize("code", [128, 255, -9])
def test_no_verdict(code: int) -> None:
    with pytest.raises(ProvError, match="no verdict"):
        verdict_of(code)


def test_missing_program() -> None:
    with pytest.raises(ProvError, match="no-such-program"):
        check_command(["no-such-program"])
    with pytest.raises(ProvError, match="no-such-program"):
        run_command(["no-such-program"])


def test_file_that_is_not_executable(tmp_path: Path) -> None:
    script = tmp_path / "check.sh"
    script.touch(mode=0o644)
    with pytest.raises(ProvError, match="the file is not executable") as caught:
        check_command([str(script)])
    assert caught.value.hint == f"run `chmod +x {script}`"


def test_exit_status() -> None:
    check_command(["sh"])
    assert run_command(["sh", "-c", "exit 7"]) == 7
