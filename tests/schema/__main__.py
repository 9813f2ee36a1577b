"""Write the JSON Schemas of all answers to docs/schema: `make schema`."""

from __future__ import annotations

from .files import FOLDER, KINDS, schema_path, schema_text

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.json"):
        path.unlink()
    for kind in KINDS:
        schema_path(kind).write_text(schema_text(kind), encoding="utf-8")
