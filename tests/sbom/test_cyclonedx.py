"""A bill in CycloneDX passes the library's strict validator."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from prov.sbom import cyclonedx
from prov.sbom.bill import Bill


def errors(data: bytes) -> list[str]:
    found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode(), all_errors=True)
    return [str(error.data) for error in found or ()]


@pytest.fixture(scope="module")
def document(bill: Bill) -> Any:
    return json.loads(cyclonedx.encode(bill))


def test_the_schema_accepts_it(bill: Bill) -> None:
    assert errors(cyclonedx.encode(bill)) == []


def test_the_schema_rejects_what_it_forbids(bill: Bill) -> None:
    broken = cyclonedx.encode(bill).replace(b'"type":"file"', b'"type":"files"')
    assert errors(broken) != []


@pytest.mark.parametrize("text", ["see COPYING", "GPL 100%"])
def test_the_schema_accepts_odd_licenses(bill: Bill, text: str) -> None:
    image, lib = bill.packages
    odd = dataclasses.replace(lib, about={"license": text}, licenses=("MIT", text))
    data = cyclonedx.encode(dataclasses.replace(bill, packages=(image, odd)))
    assert errors(data) == []
    _, package, *_ = json.loads(data)["components"]
    assert package["licenses"] == [{"license": {"name": text}}]
    assert len(package["evidence"]["licenses"]) == 2


def test_packages_contain_the_files_of_the_target(document: Any) -> None:
    image, lib = document["components"][:2]
    assert lib["cpe"] == "cpe:2.3:a:example:lib:1.5:*:*:*:*:*:*:*"
    assert lib["supplier"] == {"name": "Example"}
    assert lib["licenses"] == [{"expression": "MIT AND BSD-3-Clause"}]
    assert (image["scope"], lib["scope"]) == ("required", "required")
    files = [row["name"] for row in lib["components"] if row["type"] == "file"]
    assert files == ["lib.c", "lib.tar.gz"] + [
        f"rootfs/usr/{name}" for name in ("a", "again", "empty", "lib")
    ]
    (address,) = lib["externalReferences"]
    assert (address["type"], address["url"]) == (
        "source-distribution",
        "https://example.org/lib.tar.gz",
    )


def test_tasks_name_known_inputs_and_outputs(bill: Bill, document: Any) -> None:
    def refs(rows: list[Any]) -> set[str]:
        inside = [refs(row.get("components", [])) for row in rows]
        return {row["bom-ref"] for row in rows}.union(*inside)

    known = refs(document["components"])
    (workflow,) = document["formulation"][0]["workflows"]
    assert len(workflow["tasks"]) == len(bill.tasks)
    for task in workflow["tasks"]:
        rows = [*task.get("inputs", []), *task.get("outputs", [])]
        assert {row["resource"]["ref"] for row in rows} <= known
    (make,) = [task for task in workflow["tasks"] if task["name"] == "lib:make"]
    properties = {row["name"]: row["value"] for row in make["properties"]}
    assert properties["prov:reads"] == "incomplete: no sandbox"


def test_the_serial_number_is_derived_from_the_build(bill: Bill, document: Any) -> None:
    assert json.loads(cyclonedx.encode(bill))["serialNumber"] == document["serialNumber"]
    other = json.loads(cyclonedx.encode(dataclasses.replace(bill, ref="urn:other")))
    assert other["serialNumber"] != document["serialNumber"]
