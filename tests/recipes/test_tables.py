"""Tests that the tables of recipes and prov.toml match the schemas and the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from prov.recipes.checks import check
from prov.recipes.parsed_files import parse_toml
from prov.recipes.tables import (
    PackageTable,
    ProjectTable,
    RecipeTable,
    SourceTable,
    TaskTable,
    given,
)
from tests.recipes.schema import FOLDER, TABLES, schema_text

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs/recipes.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TABLES)
def test_a_schema_is_up_to_date(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert text == schema_text(name), "run `make schema`"


def documented_keys(heading: str) -> list[str]:
    """Return the keys in the first table after a heading of docs/recipes.md."""
    section = PAGE.split(f"\n## {heading}\n")[1]
    rows = section.split("|---|", maxsplit=1)[1].split("\n\n")[0]
    return re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE)


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("Recipe keys", RecipeTable),
        ("Sources", SourceTable),
        ("Tasks", TaskTable),
        ("Packages", PackageTable),
        ("prov.toml", ProjectTable),
    ],
)
def test_the_documentation_lists_all_keys(heading: str, kind: type[Any]) -> None:
    keys = {field.encode_name for field in msgspec.structs.fields(kind)}
    assert set(documented_keys(heading)) == keys


SHIPPED = sorted((TOP / "prov/recipes/classes").glob("*.toml"))
FIXTURES = sorted((TOP / "fixtures").rglob("recipes/**/*.toml"))


@pytest.mark.parametrize("path", [*SHIPPED, *FIXTURES], ids=lambda path: path.name)
def test_shipped_classes_and_recipes_are_valid(path: Path) -> None:
    check(parse_toml(path), RecipeTable, str(path))


def test_a_missing_key_has_the_default() -> None:
    assert given(msgspec.UNSET, 3) == 3
    assert given(0, 3) == 0
