"""`prov worker`: what it needs before it joins a farm."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import run_prov

pytestmark = pytest.mark.process


def test_a_worker_needs_credentials(tmp_path: Path) -> None:
    done = run_prov("worker", "--scheduler=tls://127.0.0.1:1", f"--credentials={tmp_path}")
    assert done.returncode == 1
    assert f"{tmp_path} has no ca.pem" in done.stderr


def test_its_size_is_checked(tmp_path: Path) -> None:
    farm = tmp_path / "farm"
    assert run_prov("farm", "init", f"--credentials={farm}").returncode == 0
    options = [f"--credentials={farm}", "--size=large", f"--folder={tmp_path / 'w'}"]
    done = run_prov("worker", "--scheduler=tls://127.0.0.1:1", *options)
    assert done.returncode == 1
    assert "invalid size 'large'" in done.stderr
