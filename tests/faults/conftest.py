"""Fixtures: the machine that injects faults, and a folder for disturbed commands."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.cases import make_tools
from tests.faults.shim import Machine, NoMachine

MEMORY = Path("/dev/shm")
ENOUGH = 1 << 30


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests that take hours unless their marker is selected."""
    if "faults" not in config.getoption("markexpr"):
        left_out = [item for item in items if item.get_closest_marker("faults")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="package")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder, in memory if there is enough; syncs need no disk, since the journal logs them."""
    in_memory = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ENOUGH
    folder = Path(tempfile.mkdtemp(dir=MEMORY)) if in_memory else tmp_path_factory.mktemp("faults")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="package")
def machine(room: Path) -> Iterator[Machine]:
    home = room / "home"
    home.mkdir()
    before = dict(os.environ)
    try:
        if not shutil.which("gcc") and not shutil.which("cc"):
            raise NoMachine("there is no C compiler")
        make_tools(room / "tools")
        os.environ["PATH"] = f"{room / 'tools'}:{before['PATH']}"
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("GIT_", "XDG_", "PROV_"))
        }
        machine = Machine(room, {**kept, "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"})
    except NoMachine as reason:
        os.environ["PATH"] = before["PATH"]
        pytest.skip(f"no faults can be made: {reason}")
    yield machine
    machine.close()
    os.environ["PATH"] = before["PATH"]
