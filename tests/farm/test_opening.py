"""How workers reach the store, and what an earlier build left."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.errors import ProvError
from prov.farm.credentials import create_farm
from prov.farm.opening import FarmSettings, open_farm, recorded_seconds
from prov.records.keys import TaskKey
from prov.store.repository import Store
from tests.commands import run_prov
from tests.farm.direct import DirectFarm
from tests.farm.machines import RECIPE, Machines, machines, outputs, sound, write_project
from tests.servers.fixtures import Servers

pytestmark = pytest.mark.process


@pytest.mark.parametrize(
    ("repository", "start"),
    [
        ("", "/"),
        ("file", "/"),
        ("ssh://me@host", "ssh://me@host/"),
        ("https://127.0.0.1", "https://127.0.0.1:"),
    ],
)
def test_the_urls_of_an_exchange(store: Store, tmp_path: Path, repository: str, start: str) -> None:
    create_farm(tmp_path / "farm", [])
    settings = FarmSettings("tls://127.0.0.1:8786", tmp_path / "farm", repository)
    with open_farm(store, settings, print) as farm:
        assert farm.options.repository.startswith(start)
        assert farm.options.repository.endswith(f"/{farm.exchange.folder.name}")
    assert [*(store.cache / "farm").iterdir()] == []


@pytest.mark.parametrize(
    ("url", "repository", "words"),
    [
        ("tcp://127.0.0.1:1", "", "invalid address of a farm"),
        ("127.0.0.1:1", "", "invalid address of a farm"),
        ("tls://host", "", "invalid address of a farm"),
        ("tls://nowhere.invalid:1", "", "cannot reach nowhere.invalid"),
        ("tls://127.0.0.1:1", "http://127.0.0.1", "invalid repository of a farm"),
        ("tls://127.0.0.1:1", "https://192.0.2.1", "cannot serve the store at"),
    ],
)
def test_invalid_settings(
    store: Store, tmp_path: Path, url: str, repository: str, words: str
) -> None:
    create_farm(tmp_path / "farm", [])
    settings = FarmSettings(url, tmp_path / "farm", repository)
    with pytest.raises(ProvError, match=words), open_farm(store, settings, print):
        pass


def test_recorded_durations(tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", {"a": RECIPE})
    farm = DirectFarm(tmp_path / "workers")
    assert farm.build(project)[0].ok
    keys = [TaskKey(f"a:{name}") for name in ("one", "two", "three", "four")]
    seconds = recorded_seconds(Store.open(project / ".prov"), keys)
    assert seconds.keys() == {"a:one", "a:two", "a:three"}
    assert all(0 < value < 60 for value in seconds.values())


def test_a_build_over_ssh(ssh_server: Servers, tmp_path: Path) -> None:
    server = ssh_server(tmp_path)
    here, there = (write_project(tmp_path / name, {"a": RECIPE}) for name in ("here", "there"))
    with (there / "prov.toml").open("a") as settings:
        settings.write(
            f'repository = "{server.base.format(port=server.port).split(str(tmp_path))[0]}"\n'
        )
    assert run_prov("build", "world", cwd=here).returncode == 0
    with machines(tmp_path / "home") as farm:
        farm.add("w1", **dict(server.environment))
        done = farm.build(there, "world")
    assert done.returncode == 0, done.stderr
    assert " at w1" in done.stderr
    assert "upload-pack" in server.access.read_text()
    assert outputs(here) == outputs(there)


def test_a_build_over_https(farm: Machines, tmp_path: Path) -> None:
    here, there = (write_project(tmp_path / name, {"a": RECIPE}) for name in ("here", "there"))
    with (there / "prov.toml").open("a") as settings:
        settings.write('repository = "https://127.0.0.1"\n')
    assert farm.run("build", "world", cwd=here).returncode == 0
    done = farm.build(there, "world")
    assert done.returncode == 0, done.stderr
    assert " at w" in done.stderr
    assert outputs(here) == outputs(there)
    sound(there)
