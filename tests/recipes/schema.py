"""Write the JSON Schemas that prov ships for editors: `make schema`."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

import prov.recipes
from prov.recipes.tables import ProjectTable, RecipeTable

FOLDER = Path(prov.recipes.__path__[0]) / "schema"
TABLES = {"recipe.json": RecipeTable, "project.json": ProjectTable}
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_text(name: str) -> str:
    """Return the text of a schema's file."""
    schema = msgspec.json.schema(TABLES[name])
    return json.dumps({"$schema": DIALECT, **schema}, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in TABLES:
        (FOLDER / name).write_text(schema_text(name), encoding="utf-8")
