"""The helper's files suffice to import the action without prov being installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from prov.reapi.helper import helper_files


@pytest.mark.process
def test_the_helper_is_complete(tmp_path: Path) -> None:
    for place, path in helper_files():
        target = tmp_path / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path)
    program = (
        f"import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]; "
        f"sys.path.insert(0, {str(tmp_path)!r}); import prov.reapi.action, prov; "
        "import prov.store.libgit2; print(prov.__file__); print('grpc' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "prov/__init__.py"), "False"]
    assert (tmp_path / "bin/patchelf").exists()
