"""The content of a task's sysroots, with chains of dependencies."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from prov.errors import NameUnknown
from prov.history.sysroot_contents import (
    SysrootContents,
    SysrootPackage,
    file_in,
    size_of,
    sysroot_contents,
)
from prov.recipes.project import Project
from prov.scheduler.session import Session
from prov.sysroot.compose import sysroots_of
from tests.history.tiny import Tiny

INSTALL = """
version = '1'
build = ['stage']
[tasks.stage]
script = 'mkdir -p image/usr/lib && echo {name} > image/usr/lib/{name}'
outputdir = ['image']
"""
RECIPES = {
    "app.toml": """
version = '1'
depends = ['greet']
build = ['make', 'test']
[tasks.make]
needs = ['@depends:stage']
script = 'true'
[tasks.test]
needs = ['lib:stage']
script = 'true'
""",
    "greet.toml": "rdepends = ['words']\n" + INSTALL.format(name="greet"),
    "words.toml": INSTALL.format(name="words"),
    "lib.toml": INSTALL.format(name="lib"),
}


def session_of(tiny: Tiny) -> Session:
    store = tiny.store
    return Session(
        Project.load(tiny.root, memory=store.cache / "parsed"),
        store,
        partial(sysroots_of, store),
        {"PATH": os.environ["PATH"]},
    )


def contents(tiny: Tiny, name: str) -> list[SysrootContents]:
    return sysroot_contents(session_of(tiny), name)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    tiny = Tiny(tmp_path_factory.mktemp("contents"))
    tiny.write(RECIPES)
    return tiny


def chains(groups: list[SysrootContents]) -> Mapping[tuple[str, ...], Mapping[str, str]]:
    return {
        group.tasks: {package.key: ", ".join(package.chain) for package in group.packages}
        for group in groups
    }


def test_packages_have_their_chain_of_dependencies(tiny: Tiny) -> None:
    assert chains(contents(tiny, "app:make")) == {
        ("make",): {
            "greet:stage": "app depends on greet",
            "words:stage": "app depends on greet, which needs words at run time",
        }
    }


def test_a_recipe_stands_for_all_its_tasks(tiny: Tiny) -> None:
    tasks = [task for group in contents(tiny, "app") for task in group.tasks]
    assert {"make", "test"} <= set(tasks)
    assert contents(tiny, "lib") == []
    assert chains(contents(tiny, "lib:stage")) == {("stage",): {}}


def test_unknown_names(tiny: Tiny) -> None:
    with pytest.raises(NameUnknown) as error:
        contents(tiny, "app:mak")
    assert error.value.hint == "did you mean make?"


def package(tiny: Tiny, key: str) -> SysrootPackage:
    """Return a package in the sysroots of app:make."""
    packages = contents(tiny, "app:make")[0].packages
    return next(package for package in packages if package.key == key)


def test_sizes_and_files_of_built_packages(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path)
    tiny.write(RECIPES)
    greet = package(tiny, "greet:stage")
    assert greet.output is None
    assert size_of(tiny.store, greet) == (0, 0)
    assert file_in(tiny.store, greet, b"usr/lib/greet") is None
    tiny.build(RECIPES, "greet:stage")
    greet = package(tiny, "greet:stage")
    assert size_of(tiny.store, greet) == (1, len("greet\n"))
    node = file_in(tiny.store, greet, b"usr/lib/greet")
    assert node is not None and not node.is_directory
    assert file_in(tiny.store, greet, b"usr/lib/none") is None
