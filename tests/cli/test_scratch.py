"""Whether recorded tasks run in a sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest
from prov_cli.scratch import is_on_host


@pytest.mark.parametrize(
    ("option", "setting", "expected"),
    [
        ("", "", False),
        ("bwrap", "auto", False),
        ("none", "", True),
        ("", "none", True),
        ("auto", "none", True),
    ],
)
def test_user_or_project_disables_the_sandbox(
    option: str,
    setting: str,
    expected: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if setting:
        (tmp_path / "prov.toml").write_text(f'sandbox = "{setting}"\n')
    assert is_on_host(option) is expected
