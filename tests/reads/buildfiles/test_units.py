"""The compilation units of recorded objects, programs and archives."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from prov.reads.buildfiles.units import units_of
from prov.records.ids import CommitId
from prov.records.run import empty_start, write_workdir
from prov.store.repository import Store
from prov.worktree.snapshot import capture
from tests.dependencies.story import DATE

pytestmark = pytest.mark.process

MAKEFILE = """CFLAGS = -MMD -Iinclude
all: a/prog b/prog lib.a
%.o: %.c
	cc $(CFLAGS) -c -o $@ $<
%/prog: %/main.o greet.o
	cc -o $@ $^
lib.a: greet.o
	ar rc $@ $^
"""
SOURCES = {
    "include/greet.h": "int greet(void);\n",
    "greet.c": '#include "greet.h"\nint greet(void) { return 0; }\n',
    "a/own.h": "\n",
    "a/main.c": '#include "greet.h"\n#include "own.h"\nint main(void) { return greet(); }\n',
    "b/main.c": "int greet(void);\nint main(void) { return greet(); }\n",
    "Makefile": MAKEFILE,
}


@pytest.fixture
def built(store: Store, tmp_path: Path) -> CommitId:
    folder = tmp_path / "work"
    for name, text in SOURCES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    subprocess.run(["make"], cwd=folder, check=True, capture_output=True)
    (folder / "stripped").write_bytes((folder / "a/prog").read_bytes())
    subprocess.run(["strip", "stripped"], cwd=folder, check=True)
    with store.objects.writer() as writer:
        pair = capture(store, folder, writer).pair
        commit = write_workdir(writer, pair, empty_start(writer).commit, DATE, "work")
        writer.finish()
    return commit


@pytest.mark.parametrize(
    ("path", "units"),
    [
        ("greet.o", {"greet.o": ("greet.c", "include/greet.h")}),
        ("lib.a", {"greet.o": ("greet.c", "include/greet.h")}),
        # both programs have a main.c: the nearest one counts
        (
            "a/prog",
            {
                "a/main.o": ("a/main.c", "include/greet.h", "a/own.h"),
                "greet.o": ("greet.c", "include/greet.h"),
            },
        ),
        ("b/prog", {"b/main.o": ("b/main.c",), "greet.o": ("greet.c", "include/greet.h")}),
        ("stripped", {}),
        ("greet.c", {}),
        ("a", {}),
        ("none", {}),
    ],
)
def test_units(store: Store, built: CommitId, path: str, units: dict[str, tuple[str, ...]]) -> None:
    assert {unit.made: unit.read for unit in units_of(store, built, path)} == units
