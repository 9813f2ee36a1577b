"""Output files that embed build paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.errors import NameUnknown
from prov.history.embedded_paths import EmbeddedPath, embedded_paths
from prov.records.keys import TaskKey
from prov.store.repository import Store
from tests.history.recorded import Recorder
from tests.history.tiny import Tiny

RECIPE = """
version = '1'
build = ['make']
[tasks.make]
script = 'mkdir -p image && echo "$PWD/x" > image/text && echo plain > image/plain'
outputdir = ['image']
"""


def test_files_with_embedded_paths(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path)
    tiny.build({"app.toml": RECIPE}, "app:make")
    files = embedded_paths(tiny.store, "app")
    assert files == [EmbeddedPath(TaskKey("app:make"), "image/text", "text", ("WORKDIR",))]
    assert not files[0].held


def test_a_recipe_that_was_never_built(store: Store, recorder: Recorder) -> None:
    with pytest.raises(NameUnknown) as error:
        embedded_paths(store, "app")
    assert error.value.hint == "run `prov build`"
    recorder.build(recorder.run("app:make", {"script": "1"}, {"app": "1"}))
    with pytest.raises(NameUnknown, match="no build of ap is recorded") as error:
        embedded_paths(store, "ap")
    assert error.value.hint == "did you mean app?"


def test_the_last_build_that_has_the_recipe_counts(store: Store, recorder: Recorder) -> None:
    recorder.build(recorder.run("app:make", {"script": "1"}, {"app": "1"}))
    recorder.build(recorder.run("lib:make", {"script": "1"}, {"lib": "1"}))
    assert embedded_paths(store, "app") == []


@pytest.mark.parametrize(("kind", "held"), [("text", False), ("binary", False), ("held", True)])
def test_files_that_keep_a_path(kind: str, held: bool) -> None:
    assert EmbeddedPath(TaskKey("a:b"), "x", kind, ("WORKDIR",)).held is held
