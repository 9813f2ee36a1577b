"""Tests of recipes made from joined tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.errors import RecipeError
from prov.recipes.assembly import make_recipe
from prov.recipes.recipe import LONGEST_RECIPE, Recipe, Setting, Task

FILE = Path("/p/recipes/app.toml")


def recipe(*, native: bool = False, path: Path = FILE, **table: Any) -> Recipe:
    return make_recipe({"version": "1", **table}, {}, path, native=native)


def test_missing_keys_have_defaults() -> None:
    expected = Recipe("app", "1", "target", FILE, build=("populate_sysroot",))
    assert recipe() == expected
    assert recipe(build=[]) == expected


def test_a_task() -> None:
    table = {
        "script": "make",
        "script_file": "make.sh",
        "interpreter": "python3",
        "dir": "${S}",
        "after": ["a"],
        "from": ["b"],
        "needs": ["c"],
        "outputdir": "image",
        "inputs": ["sources"],
        "postprocess": "x",
        "hosttools": ["tar"],
        "vardeps": ["V"],
        "vardepsexclude": ["W"],
        "network": True,
        "deploy": True,
    }
    assert recipe(tasks={"go": table}).tasks["go"] == Task(
        name="go",
        script="make",
        interpreter="python3",
        dir="${S}",
        after=("a",),
        from_=("b",),
        needs=("c",),
        outputdir=("image",),
        inputs=("sources",),
        postprocess="x",
        hosttools=("tar",),
        vardeps=("V",),
        vardepsexclude=("W",),
        network=True,
        deploy=True,
    )
    assert recipe(tasks={"go": {}}).tasks["go"] == Task("go", "")
    assert recipe(tasks={"go": {"outputdir": ["a", "b"]}}).tasks["go"].outputdir == ("a", "b")


LISTS: dict[str, Any] = {
    "depends": ["a"],
    "depends_native": ["b", "c-native"],
    "rdepends": ["d"],
    "provides": ["e"],
}


@pytest.mark.parametrize(
    ("arch", "native", "depends", "rdepends", "provides"),
    [
        ("target", False, "a", "d", "e"),
        ("allarch", False, "a", "d", "e"),
        ("machine", False, "a", "d", "e"),
        ("cross", False, "a", "d-native", "e"),
        ("native", False, "a-native", "d-native", "e"),
        ("target", True, "a-native", "d-native", "e-native"),
        ("cross", True, "a-native", "d-native", "e-native"),
    ],
)
def test_which_names_mean_native_variants(
    arch: str, native: bool, depends: str, rdepends: str, provides: str
) -> None:
    app = recipe(native=native, arch=arch, **LISTS)
    assert app.depends == (depends,)
    assert app.depends_native == ("b-native", "c-native")
    assert app.rdepends == (rdepends,)
    assert app.provides == (provides,)
    assert app.arch == ("native" if native else arch)
    assert app.name == ("app-native" if native else "app")


def test_packages_are_unchanged() -> None:
    """Their JSON is hashed."""
    packages = {"b": {"rdepends": ["x"], "files": []}, "a": {}}
    assert list(recipe(packages=packages).packages.items()) == list(packages.items())


def test_paths_in_a_sysroot_are_relative() -> None:
    owners = {"/usr/bin/ar": "binutils", "usr/share/": "other", "é": "x"}
    assert recipe(sysroot_owner=owners).sysroot_owner == {
        b"usr/bin/ar": "binutils",
        b"usr/share": "other",
        "é".encode(): "x",
    }


def test_patches_and_sources_are_relative_to_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "fix.patch").touch()
    file = tmp_path / "app.toml"
    app = recipe(path=file, patches=["fix.patch"], sources=[{"file": "src"}])
    assert app.patches == (tmp_path / "fix.patch",)
    assert app.sources[0].file == tmp_path / "src"
    with pytest.raises(RecipeError, match=r"patches: .*/missing\.patch does not exist"):
        recipe(path=file, patches=["fix.patch", "missing.patch"])


def test_an_invalid_source_is_named_by_its_number() -> None:
    with pytest.raises(RecipeError, match=r"app\.toml: sources\[1\]: expected exactly one of"):
        recipe(sources=[{"file": "a"}, {}])


def test_a_recipe_has_a_version() -> None:
    with pytest.raises(RecipeError, match="`version` is missing") as raised:
        make_recipe({}, {}, FILE, native=False)
    assert raised.value.hint == 'add version = "1.0"'


def test_variables_are_the_settings() -> None:
    settings = {"A": Setting("1", "here")}
    assert make_recipe({"version": "1"}, settings, FILE, native=False).variables is settings


NAMES = [
    ("zlib", True),
    ("gcc-13.2", True),
    ("gtk+3", True),
    ("0ad", True),
    ("a" * LONGEST_RECIPE, True),
    ("a" * (LONGEST_RECIPE + 1), False),
    ("", False),
    ("Zlib", False),
    ("a b", False),
    ("a/b", False),
    ("a:b", False),
    ("a\n", False),
    ("-a", False),
    ("a..b", False),
    ("a.lock", False),
    ("a.", False),
    ("failed", False),
    ("outside", False),
]


@pytest.mark.parametrize(("name", "valid"), NAMES)
def test_a_name(name: str, valid: bool) -> None:
    if valid:
        assert recipe(name=name).name == name
    else:
        with pytest.raises(RecipeError, match="invalid recipe name"):
            recipe(name=name)


def test_the_default_name_is_the_file_s() -> None:
    assert recipe(path=Path("/p/zlib.toml")).name == "zlib"
    with pytest.raises(RecipeError, match="invalid recipe name `Zlib`"):
        recipe(path=Path("/p/Zlib.toml"))


@given(st.text(st.sampled_from("az09+._-/:A\n"), max_size=8))
def test_a_valid_name_can_be_part_of_a_ref(name: str) -> None:
    """It follows the rules of git (git-check-ref-format) and of file systems."""
    try:
        valid = recipe(name=name).name
    except RecipeError:
        return
    assert valid == name
    assert not valid.startswith(("-", ".")) and not valid.endswith((".", ".lock"))
    assert ".." not in valid and not set(valid) & set("/:\n ")
