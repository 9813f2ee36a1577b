"""Tests of resolving selectors to recipes."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.errors import RecipeError
from prov.recipes.selectors import SELECTOR, Selectors, is_bootstrap
from tests.recipes.folders import load


@pytest.mark.parametrize(
    ("name", "bootstrap"),
    [
        ("gcc-initial", True),
        ("gcc-initial-native", True),
        ("gcc", False),
        ("initial", False),
        ("gcc-initial-x", False),
    ],
)
def test_a_bootstrap_recipe(name: str, bootstrap: bool) -> None:
    assert is_bootstrap(name) is bootstrap


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("@depends:populate_sysroot", ("depends", "populate_sysroot")),
        ("@runtime_native:a1", ("runtime_native", "a1")),
        ("@rdepends:a", None),
        ("@depends:", None),
        ("@depends:A", None),
        ("@depends:a b", None),
        ("depends:a", None),
    ],
)
def test_a_selector(text: str, parts: tuple[str, str] | None) -> None:
    match = SELECTOR.fullmatch(text)
    assert (match.groups() if match else None) == parts


NATIVE = 'classextend = ["native"]\n'
RECIPES = {
    "app": 'depends = ["lib", "gcc-initial"]\ndepends_native = ["tool"]\nrdepends = ["shell"]\n',
    "lib": 'depends = ["deep"]\nrdepends = ["base", "glue-initial"]\n',
    "base": 'rdepends = ["lib"]\n',
    "deep": "",
    "shell": "",
    "tool": 'rdepends = ["helper"]\n' + NATIVE,
    "helper": NATIVE,
    "gcc-initial": 'rdepends = ["headers"]\n',
    "glue-initial": "",
    "headers": "",
}


def select(root: Path, recipe: str, kind: str, files: dict[str, str] | None = None) -> str:
    """Return the names that a selector resolves to, as a text."""
    project = load(root, RECIPES | (files or {}))
    return " ".join(Selectors(project).select(project.recipe(recipe), kind))


def test_only_rdepends_of_dependencies_are_followed(tmp_path: Path) -> None:
    """Their `depends`, and bootstrap recipes in their `rdepends`, are not."""
    assert select(tmp_path, "app", "depends") == "lib base gcc-initial headers"
    assert select(tmp_path, "deep", "depends") == ""


def test_native_depends_are_variants(tmp_path: Path) -> None:
    assert select(tmp_path, "app", "depends_native") == "tool-native helper-native"


def test_runtime_follows_all_dependencies(tmp_path: Path) -> None:
    """It also follows `depends` of all recipes except the one with the selector."""
    files = {"image": 'depends = ["tool"]\nrdepends = ["app"]\n'}
    names = "app base deep gcc-initial glue-initial headers lib shell"
    assert select(tmp_path, "image", "runtime", files) == names


IMAGE = """
[variables]
IMAGE_INSTALL = "app-dev ${MORE}"
MORE = "odd"
"""


def test_an_image_installs_packages(tmp_path: Path) -> None:
    files = {
        "image": IMAGE,
        "app": '[packages.app-dev]\nrdepends = ["${PN}-data", "extra-doc"]\n',
        "odd": 'depends = ["cross", "lib"]\n',
        "cross": 'arch = "cross"\n',
        "extra": "",
    }
    assert select(tmp_path, "image", "runtime", files) == (
        "app base deep extra glue-initial lib odd"
    )


def test_an_image_needs_the_tools_of_postinst_scripts(tmp_path: Path) -> None:
    files = {
        "image": '[variables]\nIMAGE_INSTALL = "one two"\n',
        "one": '[packages.one]\npostinst_depends_native = ["tool"]\n',
        "two": '[packages.two]\npostinst_depends_native = ["helper-native"]\n',
    }
    assert select(tmp_path, "image", "runtime_native", files) == "tool-native helper-native"


def test_a_package_comes_from_the_recipe_with_the_longest_name(tmp_path: Path) -> None:
    files = {
        "image": '[variables]\nIMAGE_INSTALL = "lib-x-dev"\n',
        "lib": "",
        "lib-x": "",
    }
    assert select(tmp_path, "image", "runtime", files) == "lib-x"


def test_a_package_without_a_recipe_is_reported(tmp_path: Path) -> None:
    files = {"image": '[variables]\nIMAGE_INSTALL = "unknown-dev"\n'}
    with pytest.raises(RecipeError, match="image needs unknown-dev, which no recipe provides"):
        select(tmp_path, "image", "runtime", files)


def test_a_name_that_no_recipe_provides(tmp_path: Path) -> None:
    project = load(tmp_path, {"app": 'depends = ["zlip"]', "zlib": ""})
    app, selectors = project.recipe("app"), Selectors(project)
    with pytest.raises(RecipeError) as raised:
        selectors.select(app, "depends")
    assert str(raised.value) == f"{app.path}: app needs zlip, which no recipe provides"
    assert raised.value.hint == "did you mean zlib?"
    with pytest.raises(RecipeError, match=r"^here: app needs zlip"):
        selectors.provider(app, "zlip", "here")


def test_run_time_dependencies(tmp_path: Path) -> None:
    project = load(tmp_path, RECIPES)
    run_time = Selectors(project).run_time
    assert run_time(project.recipe("lib")) == ["base", "lib"]
    assert run_time(project.recipe("app")) == ["shell"]
    assert run_time(project.recipe("deep")) == []
