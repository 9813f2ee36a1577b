"""The places and packages of recorded tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.dependencies.recorded import ReadsReader, read_places
from prov.dependencies.usage import Item
from prov.reads.reads import Read
from prov.records.keys import TaskKey
from tests.dependencies.story import add_reads, library, program, tiny, traced

WORKDIR = "/build/work/x86_64/app/link"


@pytest.mark.parametrize(
    ("sandbox", "path", "inside"),
    [
        ("bwrap", "/build/sysroot/usr/lib/a", (False, "usr/lib/a")),
        ("bwrap", "/build/sysroot-native/usr/lib/a", (True, "usr/lib/a")),
        ("bwrap", f"{WORKDIR}/recipe-sysroot/usr/lib/a", (False, "usr/lib/a")),
        ("bwrap", "/usr/lib/a", None),
        ("none", "/build/sysroot/usr/lib/a", None),
        ("none", f"{WORKDIR}/recipe-sysroot-native/usr/lib/a", (True, "usr/lib/a")),
        ("none", f"{WORKDIR}/recipe-sysroot", None),
    ],
)
def test_places(sandbox: str, path: str, inside: tuple[bool, str] | None) -> None:
    places = read_places({"sandbox": sandbox, "seen-workdir": WORKDIR})
    assert places.inside(path) == inside


@pytest.mark.process
def test_runs_are_read_with_their_packages(tmp_path: Path) -> None:
    project = tiny(tmp_path)
    link = "ln -s ${RECIPE_SYSROOT}/usr/include/a.h image/usr/include/link.h"
    recipe = library("a").replace("a.h'", f"a.h; {link}'\nhosttools = ['ln']")
    script = "date > time; cat ${RECIPE_SYSROOT}/usr/include/a.h > result"
    app = program(script, "'a'").replace("[tasks.link]", "[tasks.link]\nhosttools = ['date']")
    project.build({"a.toml": recipe, "app.toml": app}, "world")
    key, reads = TaskKey("app:link"), traced("usr/include/a.h")
    reader = ReadsReader(project.store)
    [watched] = [run.reads for run in reader.runs(key)]
    assert watched is not None
    sysroot = [row for row in watched.rows if row.path.startswith("/build/sysroot/")]
    assert sysroot == [*reads.rows]
    assert Read("/usr/bin/date", "*o") in watched.rows
    add_reads(project.store, key, reads)
    [run] = reader.runs(key)
    assert run.reads == reads
    assert run.tools.keys() == {"date"}
    assert run.tool_files == {"date": "/usr/bin/date"}
    [package] = run.packages
    assert package.key == "a:stage"
    assert package.places[0] == "/build/sysroot"
    assert package.items["usr/include"] == Item(is_folder=True)
    assert package.items["usr/include/a.h"] == Item()
    # the path of the sysroot is recorded as a token
    assert package.items["usr/include/link.h"] == Item(target="/build/sysroot/usr/include/a.h")
