"""The published schemas agree with the types of answers, the source and the page."""

from __future__ import annotations

import ast
import json

import pytest
from jsonschema import Draft202012Validator

from tests.manual.shared import DOCS

from .check import read_answer
from .files import FOLDER, KINDS, schema_path, schema_text

TOP = DOCS.parent
PAGE = (DOCS / "json.md").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_up_to_date(kind: str) -> None:
    text = schema_path(kind).read_text() if schema_path(kind).exists() else ""
    assert text == schema_text(kind), "run `make schema`"
    Draft202012Validator.check_schema(json.loads(text))


def test_every_kind_in_the_source_has_a_schema() -> None:
    kinds = [
        ast.literal_eval(node.args[0])
        for path in (TOP / "cli").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "say_json"
    ]
    assert sorted(kinds) == sorted(KINDS)
    assert {path.stem for path in FOLDER.iterdir()} == set(KINDS)


def test_the_page_lists_every_command_and_schema() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `prov ")]
    assert rows == [
        f"| {', '.join(f'`{command}`' for command in answer.commands)} |"
        f" [`{kind}`](schema/{kind}.json) | {(answer.__doc__ or '').splitlines()[0]} |"
        for kind, answer in KINDS.items()
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_units_are_in_the_names(kind: str) -> None:
    schema = json.loads(schema_text(kind))
    for part in (schema, *schema.get("$defs", {}).values()):
        for key, value in part["properties"].items():
            description = value.get("description", "")
            assert ("since the epoch." in description) == key.endswith("time") or key == "facts"
            assert ("A duration in seconds." in description) == key.endswith("seconds")
            assert ("In bytes." in description) == key.endswith("bytes")


def test_a_key_without_a_schema_is_an_error() -> None:
    answer = {"schema": 1, "kind": "labels", "labels": []}
    assert read_answer(json.dumps(answer)) == answer
    with pytest.raises(AssertionError, match="unexpected"):
        read_answer(json.dumps(answer | {"more": 1}))
    with pytest.raises(AssertionError, match="no schema for the kind 'label'"):
        read_answer(json.dumps(answer | {"kind": "label"}))


def test_every_answer_in_the_tests_is_checked() -> None:
    unchecked = [
        f"{path.relative_to(TOP)}:{node.lineno}"
        for path in (TOP / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "json.loads"
        and "'--json'" in ast.unparse(node)
    ]
    assert unchecked == []
