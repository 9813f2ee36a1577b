"""An action without a server: its folder is written to disk, and its program runs there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from prov.reapi.action import COMMIT, HELPER, OBJECTS, ORDER, PROBLEM, PROGRAM, RESULT, START, TOOLS
from prov.reapi.address import Address, ClientCredentials
from prov.reapi.blobs import BlobDigest, blob_of
from prov.reapi.executor import ATTEMPTS, ReapiExecutor
from prov.reapi.folders import InputFolder, ObjectFolders, folder_of_files, make_folder
from prov.reapi.helper import helper_files
from prov.reapi.transfer import ReceivedResult, Server, Unable
from prov.reapi.wire import messages_pb2 as wire
from prov.records.ids import CommitId
from prov.remote.receive import digests_of
from prov.scheduler.executor import LocalExecutor
from prov.scheduler.plan import Plan
from prov.scheduler.session import Request
from prov.scheduler.summary import RunOptions
from prov.store.repository import Store
from tests.commands import run_prov
from tests.farm.direct import session_of
from tests.farm.machines import RECIPE, outputs, sound, write_project
from tests.scheduler.builds import Shown

pytestmark = pytest.mark.process

RECIPES = {"lib": RECIPE.format(word="three")}


def write_folder(folder: InputFolder, path: Path) -> None:
    """Write an input root to disk, as a server does."""
    path.mkdir()
    message = wire.Directory.FromString(folder.blob.read())
    blobs = {blob.digest: blob for blob in folder.files}
    for file in message.files:
        target = path / file.name
        target.write_bytes(blobs[BlobDigest.of_message(file.digest)].read())
        target.chmod(0o555 if file.is_executable else 0o444)
    below = {inside.blob.digest: inside for inside in folder.below}
    for row in message.directories:
        write_folder(below[BlobDigest.of_message(row.digest)], path / row.name)


@dataclass
class DirectTransfers:
    """Runs actions in folders of this machine."""

    store: Store
    folder: Path
    spoil: Callable[[Path], None]
    """Changes the folder of a result."""

    def run(self, order: CommitId, folder: Path) -> ReceivedResult:
        self.store.objects.refresh()
        top = self.folder / order.hex()
        write_folder(self._root(order), top)
        run_action(top)
        result = top / RESULT
        if (result / PROBLEM).exists():
            raise Unable((result / PROBLEM).read_text())
        commit = CommitId(bytes.fromhex((result / COMMIT).read_text()))
        self.spoil(result)
        for path in result.iterdir():
            path.rename(folder / path.name)
        return ReceivedResult(commit, folder, "w", 0)

    def _root(self, order: CommitId) -> InputFolder:
        objects = self.store.objects
        folders = ObjectFolders(objects, digests_of(objects), self.store.cache / "reapi")
        files = {PROGRAM: START.encode(), ORDER: f"{order.hex()} 1".encode()}
        return make_folder(
            {name: blob_of(data) for name, data in files.items()},
            {
                HELPER: folder_of_files(helper_files()),
                OBJECTS: folders.of_order(order),
                TOOLS: folders.of_tools(order),
            },
        )


def run_action(top: Path, **variables: str) -> None:
    """Run the program of an action."""
    environment = {"PATH": os.environ["PATH"], **variables}
    command = [sys.executable, "-I", PROGRAM]
    subprocess.run(command, cwd=top, env=environment, check=True)


def build(project: Path, folder: Path, spoil: Callable[[Path], None]) -> list[str]:
    """Build all recipes of a project by actions; return the notes."""
    session, shown = session_of(project), Shown()
    address = Address.parse("grpc://localhost:1")
    server = Server(address, ClientCredentials(), {}, "python3")

    def executor(local: LocalExecutor, _plan: Plan) -> ReapiExecutor:
        made = ReapiExecutor(local, server, 2, shown.note)
        made._transfers = DirectTransfers(session.store, folder, spoil)  # type: ignore[assignment]
        return made

    summary, _ = session.build(Request(("world",)), shown, RunOptions(jobs=1), executor)
    assert summary.ok
    return shown.notes


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the results of a build on this machine."""
    project = write_project(tmp_path_factory.mktemp("local") / "project", RECIPES)
    assert run_prov("build", "world", cwd=project).returncode == 0
    return outputs(project)


def test_an_action_performs_an_order(local: dict[str, str], tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", RECIPES)
    notes = build(project, make(tmp_path / "actions"), lambda _result: None)
    assert any("3 actions" in note for note in notes)
    assert outputs(project) == local
    sound(project)
    record = run_prov("show", "lib:two", cwd=project).stdout
    assert "\nworker       w" in record


def flip(result: Path) -> None:
    """Change one byte of the largest object."""
    path = max(result.iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def empty(result: Path) -> None:
    for path in result.iterdir():
        path.write_bytes(b"")


def drop(result: Path) -> None:
    for path in result.iterdir():
        path.unlink()


def enlarge(result: Path) -> None:
    for path in result.iterdir():
        path.write_bytes(b"commit 99999999999\0")


@pytest.mark.parametrize("spoil", [flip, empty, drop, enlarge])
def test_a_lie_changes_no_result(
    local: dict[str, str], tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    project = write_project(tmp_path / "project", RECIPES)
    notes = build(project, make(tmp_path / "actions"), spoil)
    assert sum("lib:one: rejected the result" in note for note in notes) == ATTEMPTS
    assert outputs(project) == local
    sound(project)


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_an_action_states_why_it_cannot_run(tmp_path: Path) -> None:
    program = {PROGRAM: blob_of(START.encode())}
    write_folder(make_folder(program, {HELPER: folder_of_files(helper_files())}), tmp_path / "a")
    run_action(tmp_path / "a", PATH="/nonexistent")
    problem = (tmp_path / "a" / RESULT / PROBLEM).read_text()
    assert problem.startswith('sandbox "bwrap" cannot be used: bwrap is not on PATH')
