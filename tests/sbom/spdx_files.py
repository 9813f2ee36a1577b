"""SPDX's own validators.

`spdx-python-model` is generated from SPDX's model: it checks types, values and required properties.
It needs no other files. The JSON Schema and the SHACL shapes are not on PyPI. If $SPDX_MODEL names
a folder with them (spdx-json-schema.json, spdx-model.ttl, spdx-context.jsonld of SPDX 3.0.1), tests
use them, too.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from spdx_python_model.bindings import v3_0_1 as model

NEEDS_MODEL = pytest.mark.skipif(
    "SPDX_MODEL" not in os.environ,
    reason="$SPDX_MODEL does not name a folder with SPDX's schema and model",
)


def load(data: bytes) -> Any:
    """Return the objects of a document. Raises an exception if it does not match the model."""
    objects = model.SHACLObjectSet()
    model.JSONLDDeserializer().read(io.BytesIO(data), objects)
    return objects


def elements(data: bytes) -> list[dict[str, Any]]:
    graph: list[dict[str, Any]] = json.loads(data)["@graph"]
    return graph


def by_id(document: bytes) -> dict[str, dict[str, Any]]:
    return {each["spdxId"]: each for each in elements(document) if "spdxId" in each}


def sources_of(document: bytes) -> dict[str, set[str]]:
    """Return path of a file in the image -> the source files that relationships lead to."""
    known = by_id(document)
    used: dict[str, set[str]] = {}
    for each in known.values():
        kind = each.get("relationshipType")
        if kind in ("hasInput", "dependsOn"):
            used.setdefault(each["from"], set()).update(each["to"])
        elif kind in ("hasOutput", "copiedTo"):
            for target in each["to"]:
                used.setdefault(target, set()).add(each["from"])
    found = {}
    images = [each for each in known.values() if "#file:" in each["spdxId"] and "name" in each]
    for image in images:
        pending, reached = [image["spdxId"]], {image["spdxId"]}
        while pending:
            new = used.get(pending.pop(), set()) - reached
            reached |= new
            pending += new
        found[image["name"]] = {
            known[ref]["name"]
            for ref in reached
            if known[ref].get("software_primaryPurpose") == "source"
        }
    return found


def shacl_errors(data: bytes) -> list[str]:
    """Return what SHACL shapes reject."""
    import rdflib
    from spdx3_validate.core import check_graph
    from spdx3_validate.spdx_versions import find_version

    top = Path(os.environ["SPDX_MODEL"])
    document = json.loads(data)
    version = find_version(document["@context"])
    assert version is not None
    document |= json.loads((top / "spdx-context.jsonld").read_text())
    shapes, graph = rdflib.Graph(), rdflib.Graph()
    shapes.parse(top / "spdx-model.ttl")
    graph.parse(data=json.dumps(document), format="json-ld")
    errors: list[str] = check_graph(graph, shapes, version, True)
    return errors


def schema_errors(data: bytes) -> list[str]:
    """Return what the JSON Schema rejects. It takes a minute for a thousand elements."""
    from spdx3_validate.core import schema_validator

    top = Path(os.environ["SPDX_MODEL"])
    validator = schema_validator(json.loads((top / "spdx-json-schema.json").read_text()))
    return [error.json_path for error in validator.iter_errors(json.loads(data))]
