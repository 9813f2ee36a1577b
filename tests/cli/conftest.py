"""Fixtures: copies of the demo, which is built once, and small projects."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.buildroot.replay import CONFIG
from tests.cli.chain import CHAIN
from tests.cli.contents import build
from tests.cli.projects import Prov
from tests.cli.story import DEMO, Project, copy_project, small_project
from tests.cli.sysroots import RECIPES, Compose, run, sandbox, staged
from tests.commands import run_prov


@pytest.fixture(scope="session")
def demo_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("story") / "demo"
    shutil.copytree(DEMO, root, ignore=shutil.ignore_patterns(".prov", "build"))
    Project(root).prov("build", "demo-image")
    yield root
    shutil.rmtree(root)


@pytest.fixture
def story(demo_once: Path, tmp_path: Path) -> Iterator[Project]:
    """The demo, built."""
    root = tmp_path / "demo"
    copy_project(demo_once, root)
    yield Project(root)
    shutil.rmtree(root)


@pytest.fixture
def prov(tmp_path: Path) -> Prov:
    def run(
        *arguments: str, code: int = 0, cwd: Path = tmp_path
    ) -> subprocess.CompletedProcess[str]:
        done = run_prov(*arguments, cwd=cwd)
        assert done.returncode == code, (
            f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    return run


@pytest.fixture(scope="session")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo, with `hello` compiled."""
    root = tmp_path_factory.mktemp("demo") / "demo"
    shutil.copytree(DEMO, root, ignore=shutil.ignore_patterns(".prov", "build"))
    run("build", "--sandbox", sandbox(), "hello:compile", cwd=root)
    return root


@pytest.fixture(scope="session")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose outputs conflict, contain paths, or have a postinst script."""
    root = tmp_path_factory.mktemp("small")
    (root / "recipes").mkdir()
    (root / "prov.toml").write_text('recipes = ["recipes"]\nsandbox = "none"\n')
    for name, script in RECIPES.items():
        text = f"version = '1'\n[tasks.install]\nscript = '''mkdir -p $D/usr/share\n{script}\n'''\n"
        (root / "recipes" / f"{name}.toml").write_text(text)
    (root / "recipes/user.toml").write_text("version = '1'\ndepends = ['left', 'missing']\n")
    (root / "recipes/missing.toml").write_text("version = '1'\n")
    run("build", *RECIPES, cwd=root)
    return root


@pytest.fixture
def compose(outputs: Path) -> Compose:
    """A function that composes outputs of the small project, named by recipe."""

    def call(directory: Path, *names: str, owners: tuple[str, ...] = (), code: int = 0) -> object:
        options = [option for owner in owners for option in ("--owner", owner)]
        return run("compose", str(directory), *map(staged, names), *options, cwd=outputs, code=code)

    return call  # type: ignore[return-value]


@pytest.fixture(scope="session")
def two_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = small_project(tmp_path_factory.mktemp("two") / "small")
    build(project, "one", "two")
    return project.root


@pytest.fixture
def two(two_once: Path, tmp_path: Path) -> Project:
    """A small project with two builds."""
    copy_project(two_once, tmp_path / "small")
    return Project(tmp_path / "small")


@pytest.fixture(scope="session")
def chain_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = small_project(tmp_path_factory.mktemp("chain") / "small")
    project.write("recipes/src/word", "one\ntwo\nthree\n")
    project.write(
        "recipes/fix.patch", "--- a/word\n+++ b/word\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n"
    )
    project.write("recipes/x.toml", CHAIN)
    project.prov("build", "x:go")
    return project.root


@pytest.fixture
def chain(chain_once: Path, tmp_path: Path) -> Project:
    """A built recipe: unpack, patch, and a task that continues their WORKDIR."""
    copy_project(chain_once, tmp_path / "small")
    return Project(tmp_path / "small")


@pytest.fixture
def scene(story: Project) -> Iterator[Project]:
    """The demo, built; the test must leave no restored task."""
    yield story
    assert story.leftovers() == []


@pytest.fixture
def configured(tmp_path: Path) -> Project:
    """A configured build directory of Buildroot."""
    (tmp_path / ".config").write_text(CONFIG)
    (tmp_path / "build/zlib").mkdir(parents=True)
    return Project(tmp_path, {"PROV_STORE": ""})
