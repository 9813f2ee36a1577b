"""Tests of the order in which a recipe inherits classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.errors import RecipeError
from prov.recipes.inheritance import CLASSES, Classes
from prov.recipes.parsed_files import ParsedFiles
from tests.recipes.folders import write

FILE = Path("app.toml")


def classes(root: Path, **inherits: str) -> Classes:
    """Write classes to a folder; each one inherits the classes named in its text."""
    texts = {
        f"{name}.toml": f"inherit = {list(text.split())}\nversion = '{name}'"
        for name, text in inherits.items()
    }
    write(root, texts)
    return Classes((root,), ParsedFiles())


@pytest.mark.parametrize(
    ("inherits", "names", "order"),
    [
        ({}, "", "base"),
        ({"a": "", "b": ""}, "b a", "base b a"),
        ({"a": "b", "b": "c", "c": ""}, "a", "base c b a"),
        ({"a": "c", "b": "c", "c": ""}, "a b c a", "base c a b"),
        ({"a": "base"}, "a base", "base a"),
        ({"a": "b", "b": "a"}, "a", "base b a"),
    ],
)
def test_a_class_comes_after_the_classes_it_inherits(
    tmp_path: Path, inherits: dict[str, str], names: str, order: str
) -> None:
    layers = classes(tmp_path, base="", **inherits).layers(names.split(), FILE)
    assert [origin for origin, _table in layers] == [f"class {name}" for name in order.split()]
    assert [table["version"] for _origin, table in layers] == order.split()


def test_the_key_inherit_is_not_inherited(tmp_path: Path) -> None:
    layers = classes(tmp_path, base="", a="b", b="").layers(["a"], FILE)
    assert [table for _origin, table in layers[1:]] == [{"version": "b"}, {"version": "a"}]


def test_folders_are_searched_in_order_and_prov_s_own_last(tmp_path: Path) -> None:
    write(tmp_path, {"one/a.toml": "version = '1'", "two/a.toml": "version = '2'"})
    write(tmp_path, {"two/make.toml": "version = 'own'"})
    folders = (tmp_path / "one", tmp_path / "two")
    layers = dict(Classes(folders, ParsedFiles()).layers(["a", "make", "cmake"], FILE))
    assert layers["class a"]["version"] == "1"
    assert layers["class make"]["version"] == "own"
    assert "tasks" in layers["class cmake"]


def test_a_class_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"app\.toml: inherit: class mak does not exist"
    ) as raised:
        classes(tmp_path, base="").layers(["mak"], FILE)
    assert raised.value.hint == "did you mean make or cmake?"
    with pytest.raises(RecipeError) as raised:
        classes(tmp_path, base="").layers(["zzzzzz"], FILE)
    assert raised.value.hint.startswith("use one of autotools, base, cmake")


@pytest.mark.parametrize("path", sorted(CLASSES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_class_can_be_inherited(path: Path) -> None:
    layers = Classes((), ParsedFiles()).layers([path.stem], FILE)
    assert f"class {path.stem}" in dict(layers)
