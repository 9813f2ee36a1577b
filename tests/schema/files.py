"""The JSON Schemas in docs/schema, made from the types of answers."""

from __future__ import annotations

import ast
import inspect
import json
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from tests.manual.shared import DOCS

from . import answers

FOLDER = DOCS / "schema"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
KINDS: dict[str, type[answers.Answer]] = {
    answer.__struct_config__.tag: answer  # type: ignore[misc]
    for answer in answers.Answer.__subclasses__()
}
"""Kind -> type of the answer."""


def schema_path(kind: str) -> Path:
    """Return the file of a kind's schema."""
    return FOLDER / f"{kind}.json"


def schema_text(kind: str) -> str:
    """Return the text of a schema's file."""
    return json.dumps(_schema(KINDS[kind]), indent=2, ensure_ascii=False) + "\n"


def _schema(answer: type[answers.Answer]) -> dict[str, Any]:
    parts = msgspec.json.schema(answer)["$defs"]
    for name, part in parts.items():
        _describe(part, getattr(answers, name))
    top = parts.pop(answer.__name__)
    title = ", ".join(f"{command} --json" for command in answer.commands)
    schema = {"$schema": DIALECT, **top, "title": title}
    return schema | {"$defs": parts} if parts else schema


def _describe(part: dict[str, Any], struct: type[msgspec.Struct]) -> None:
    """Add the docstrings of a type's attributes to its schema."""
    del part["title"]
    docs = _attribute_docs(struct)
    for name, key in zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True):
        value = part["properties"][key]
        text = " ".join(filter(None, (docs.get(name), value.get("description"))))
        if text:
            value["description"] = text


def _attribute_docs(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Return attribute -> its docstring, those of base classes too."""
    docs: dict[str, str] = {}
    for base in reversed(struct.__mro__):
        if base.__module__ == answers.__name__:
            docs |= _docs_by_class()[base.__name__]
    return docs


@cache
def _docs_by_class() -> dict[str, dict[str, str]]:
    tree = ast.parse(inspect.getsource(answers))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return {node.name: dict(_docs_in(node)) for node in classes}


def _docs_in(node: ast.ClassDef) -> list[tuple[str, str]]:
    return [
        (attribute.target.id, inspect.cleandoc(text.value.value).replace("\n", " "))
        for attribute, text in zip(node.body, node.body[1:], strict=False)
        if isinstance(attribute, ast.AnnAssign)
        and isinstance(attribute.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    ]
