"""Checks an answer of `--json` against its published schema."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from .files import schema_path


def read_answer(text: str) -> Any:
    """Return a command's answer.

    Raises AssertionError if its schema is missing, or the answer is not as the schema has it; a key
    that the schema lacks counts as an error.
    """
    answer = json.loads(text)
    kind = answer["kind"]
    assert schema_path(kind).exists(), f"no schema for the kind {kind!r}"
    errors = [
        f"{kind}{error.json_path[1:]}: {error.message}"
        for error in _validator(kind).iter_errors(answer)
    ]
    assert not errors, "\n".join(errors)
    return answer


@cache
def _validator(kind: str) -> Draft202012Validator:
    schema = json.loads(schema_path(kind).read_text())
    for part in (schema, *schema.get("$defs", {}).values()):
        part["additionalProperties"] = False
    return Draft202012Validator(schema)
