"""A session imports what it needs when it needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.process


@pytest.mark.parametrize("module", ["asyncio", "prov.scheduler.deploy", "prov.upkeep.collection"])
def test_planning_does_not_import_what_only_a_build_needs(module: str) -> None:
    program = f"import sys, prov.scheduler.session; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
