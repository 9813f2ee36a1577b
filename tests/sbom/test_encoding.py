"""Package URLs and times have one form."""

from __future__ import annotations

import json
import math

import pytest

from prov.sbom.bill import BilledPackage, BilledSource
from prov.sbom.encoding import encode_lines, is_time, package_url, quoted, time_text, without_empty

ARCHIVE = BilledSource("", "a", "https://example.org/a b.tar.gz", sha256="ab")
REPOSITORY = BilledSource("", "g", "https://example.org/g.git", git_commit="cd")
LOCAL = BilledSource("", "l", tree="ef")


@pytest.mark.parametrize(
    ("sources", "result"),
    [
        ((), ""),
        ((LOCAL,), ""),
        ((LOCAL, ARCHIVE), "?checksum=sha256:ab&download_url=https://example.org/a%20b.tar.gz"),
        ((REPOSITORY,), "?vcs_url=git%2Bhttps://example.org/g.git%40cd"),
        ((ARCHIVE, REPOSITORY), ""),
    ],
)
def test_a_purl_is_derived_from_the_only_source(
    sources: tuple[BilledSource, ...], result: str
) -> None:
    package = BilledPackage("", "lib++", "1.0+a", {}, sources)
    assert package_url(package) == f"pkg:generic/lib%2B%2B@1.0%2Ba{result}"


def test_a_stated_purl_is_used() -> None:
    package = BilledPackage("", "lib", "1", {"purl": "pkg:deb/debian/lib@1"}, (ARCHIVE,))
    assert package_url(package) == "pkg:deb/debian/lib@1"


def test_a_package_without_a_version() -> None:
    assert package_url(BilledPackage("", "lib", "", {})) == "pkg:generic/lib"


def test_times_are_whole_seconds_in_utc() -> None:
    assert time_text(1_600_000_000.9) == "2020-09-13T12:26:40Z"
    assert time_text(None) == ""


@pytest.mark.parametrize(
    ("seconds", "result"),
    [(0, True), (1e9, True), (-1, False), (1e20, False), (math.inf, False), (math.nan, False)],
)
def test_times_that_formats_can_express(seconds: float, result: bool) -> None:
    assert is_time(seconds) is result


def test_names_with_any_bytes() -> None:
    assert quoted("a\udcff/b", "/") == "a%FF/b"
    assert encode_lines({"b": 1}, "rows", [{"a": "\udcff"}]).isascii()


def test_each_element_has_a_line() -> None:
    data = encode_lines({"a": 1}, "rows", [{"x": "é"}, {"y": []}])
    assert data.decode().splitlines() == ['{"a":1,"rows":[', '{"x":"é"},', '{"y":[]}', "]}"]
    assert json.loads(data) == {"a": 1, "rows": [{"x": "é"}, {"y": []}]}
    assert json.loads(encode_lines({"a": 1}, "rows", [])) == {"a": 1, "rows": []}


def test_empty_values_are_left_out() -> None:
    assert without_empty({"a": "", "b": [], "c": None, "d": 0, "e": False}) == {"d": 0, "e": False}
