"""A bill in SPDX conforms to SPDX's model, and its relationships lead to sources."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from prov.sbom import spdx
from prov.sbom.bill import Bill
from tests.sbom.spdx_files import NEEDS_MODEL, elements, load, schema_errors, shacl_errors


@pytest.fixture(scope="module")
def document(bill: Bill) -> bytes:
    return spdx.encode(bill)


def related(document: bytes, kind: str, source: str) -> list[str]:
    """Return the targets of an element's relationships, without the document's prefix."""
    return [
        target.partition("#")[2]
        for element in elements(document)
        if element.get("relationshipType") == kind
        and element["from"].partition("#")[2].startswith(source)
        for target in element["to"]
    ]


def element(document: bytes, ref: str) -> dict[str, Any]:
    (own,) = [each for each in elements(document) if each.get("spdxId", "").endswith(f"#{ref}")]
    return own


def test_the_model_accepts_it(document: bytes) -> None:
    objects = load(document)
    assert objects.missing_ids == set()
    assert len(objects.objects) == len(elements(document))


def test_the_model_rejects_what_it_forbids(document: bytes) -> None:
    broken = document.replace(b'"relationshipType":"hasOutput"', b'"relationshipType":"produces"')
    assert broken != document
    with pytest.raises(ValueError, match="produces"):
        load(broken)


@NEEDS_MODEL
def test_the_shapes_accept_it(document: bytes) -> None:
    assert shacl_errors(document) == []


@NEEDS_MODEL
def test_the_shapes_reject_missing_elements(document: bytes) -> None:
    table = json.loads(document)
    graph = table["@graph"]
    table["@graph"] = [each for each in graph if each["type"] != "software_File"]
    assert shacl_errors(json.dumps(table).encode()) != []


@NEEDS_MODEL
@pytest.mark.slow
def test_the_schema_accepts_it(document: bytes) -> None:
    assert schema_errors(document) == []


@NEEDS_MODEL
@pytest.mark.slow
def test_the_schema_rejects_a_wrong_type(document: bytes) -> None:
    assert schema_errors(document.replace(b'"createdBy":[', b'"created_by":[')) != []


def test_ids_are_unique_and_known(document: bytes) -> None:
    ids = [each["spdxId"] for each in elements(document) if "spdxId" in each]
    assert len(set(ids)) == len(ids)
    for each in elements(document):
        assert {each.get("from", ids[0]), *each.get("to", [])} <= set(ids)


def test_each_task_is_a_build(bill: Bill, document: bytes) -> None:
    builds = {each["name"] for each in elements(document) if each["type"] == "build_Build"}
    assert builds == {task.key for task in bill.tasks}
    (rootfs,) = [task for task in bill.tasks if task.key == "image:rootfs"]
    outputs = related(document, "hasOutput", rootfs.ref)
    assert outputs == [*rootfs.outputs, *rootfs.made]
    assert set(rootfs.folders) <= set(related(document, "hasInput", rootfs.ref))


def test_incomplete_reads_are_stated(bill: Bill, document: bytes) -> None:
    (make,) = [task for task in bill.tasks if task.key == "lib:make"]
    assert element(document, make.ref)["comment"] == "files read: incomplete: no sandbox"


def test_packages_have_purl_cpe_supplier_and_license(document: bytes) -> None:
    package = element(document, "package:lib")
    assert package["software_packageUrl"].startswith("pkg:generic/lib@1.5?checksum=sha256:abab")
    assert [row["identifier"] for row in package["externalIdentifier"]] == [
        "cpe:2.3:a:example:lib:1.5:*:*:*:*:*:*:*",
        "cpe:2.3:a:example:old:1:*:*:*:*:*:*:*",
    ]
    assert package["software_downloadLocation"] == "https://example.org/lib.tar.gz"
    assert element(document, "supplier:package:lib")["name"] == "Example"
    (license_ref,) = related(document, "hasDeclaredLicense", "package:lib")
    text = element(document, license_ref)["simplelicensing_licenseExpression"]
    assert text == "MIT AND BSD-3-Clause"
    (patch,) = related(document, "patchedBy", "package:lib")
    assert element(document, patch)["software_primaryPurpose"] == "patch"


def test_copies_lead_to_the_original(bill: Bill, document: bytes) -> None:
    copies = {file.ref for file in bill.files if file.origin}
    assert len(copies) == 2
    assert {*related(document, "copiedTo", "")} == copies


def test_a_license_that_is_not_an_expression_gets_a_ref(bill: Bill) -> None:

    image, lib = bill.packages
    odd = dataclasses.replace(lib, about={"license": "see COPYING"})
    document = spdx.encode(dataclasses.replace(bill, packages=(image, odd)))
    load(document)
    (license_ref,) = related(document, "hasDeclaredLicense", "package:lib")
    text = element(document, license_ref)["simplelicensing_licenseExpression"]
    assert text == "LicenseRef-see-20COPYING"


def test_licenses_that_are_the_same_expression_are_one(bill: Bill) -> None:
    source = next(file for file in bill.files if file.purpose == "source")
    facts = source.facts._replace(licenses="MIT & Zlib\nMIT AND Zlib\nGPL")
    tagged = dataclasses.replace(source, facts=facts)
    document = spdx.encode(dataclasses.replace(bill, files=(*bill.files[:-1], tagged)))
    found = related(document, "hasDeclaredLicense", tagged.ref)
    assert found == ["license:MIT%20AND%20Zlib", "license:GPL"]
