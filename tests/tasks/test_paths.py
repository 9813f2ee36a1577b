"""The room of a task: what is put on disk for it, and what else it may read."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.recipes.recipe import Source
from prov.store.repository import Store
from prov.tasks.paths import make_room
from prov.tasks.toolchain import Toolchains
from tests.tasks.samples import TOOLS, node_of, site_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize("sandbox", [None, "bwrap"])
def test_a_room_has_links_to_its_tools(store: Store, tmp_path: Path, sandbox: str | None) -> None:
    site = site_of(store, tmp_path / "work", sandbox=sandbox)
    room = make_room(site, Toolchains(store, "/usr/bin"), node_of(), "compile", TOOLS)
    assert room.workdir == tmp_path / "work/x86_64/zlib/compile"
    assert room.name == ("x86_64", "zlib", "compile")
    assert {path.name: str(path.readlink()) for path in room.links.iterdir()} == dict(
        TOOLS.programs
    )
    assert (room.root is not None) == (sandbox is not None)
    assert (room.network, room.readable, room.direct) == (False, (), ())


@pytest.mark.parametrize(
    ("source", "readable"),
    [
        (Source("a", url="file:///srv/a.tar"), "/srv/a.tar"),
        (Source("a", git="/srv/a.git", commit=COMMIT), "/srv/a.git"),
        (Source("a", git="file:///srv/a.git", commit=COMMIT), "/srv/a.git"),
        (Source("a", git="https://host/a.git", commit=COMMIT), None),
        (Source("a", url="https://host/a.tar"), None),
        (Source("a", file=Path("/srv/a.tar")), None),
    ],
)
def test_sources_that_a_fetching_task_may_read(
    store: Store, tmp_path: Path, source: Source, readable: str | None
) -> None:
    site, toolchains = site_of(store, tmp_path / "work"), Toolchains(store, "/usr/bin")
    node = node_of(sources=(source,), task={"network": True})
    room = make_room(site, toolchains, node, "fetch", TOOLS)
    assert room.network
    assert room.readable == ((Path(readable),) if readable else ())
    other = make_room(site, toolchains, node_of(sources=(source,)), "compile", TOOLS)
    assert other.readable == ()
