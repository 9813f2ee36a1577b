"""Texts that the formats share: times, package URLs, and JSON with one element on a line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from prov.sbom.bill import BilledPackage

_YEAR_10000 = 253_402_300_800
Table = dict[str, Any]


def is_time(seconds: float) -> bool:
    """Return whether a number is a time that the formats can express: until the year 9999."""
    return 0 <= seconds < _YEAR_10000


def time_text(seconds: float | None) -> str:
    """Return a time in UTC, in whole seconds; empty for None."""
    if seconds is None:
        return ""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def quoted(text: str, safe: str = "") -> str:
    """Return a text as a part of a URI, with any byte of a file name."""
    return quote(os.fsencode(text), safe=safe)


def without_empty(table: Mapping[str, Any]) -> Table:
    """Return a table without empty texts and lists."""
    return {name: value for name, value in table.items() if value not in ("", [], (), None)}


def package_url(package: BilledPackage) -> str:
    """Return a package's purl: the recipe's, or a generic one with the address of its source."""
    if package.about.get("purl"):
        return package.about["purl"]
    url = f"pkg:generic/{quoted(package.name)}"
    if package.version:
        url += f"@{quoted(package.version)}"
    sources = [source for source in package.sources if source.url]
    if len(sources) != 1:
        return url
    source = sources[0]
    if source.git_commit:
        return f"{url}?vcs_url={quoted(f'git+{source.url}@{source.git_commit}', ':/')}"
    return f"{url}?checksum=sha256:{source.sha256}&download_url={quoted(source.url, ':/')}"


def encode_lines(head: Table, name: str, elements: Iterable[Table]) -> bytes:
    r"""Return a JSON object whose member `name` lists elements, one on each line.

    A byte that is not UTF-8 becomes an escape such as `\udcff`.
    """
    rows = ",\n".join(_compact(element) for element in elements)
    text = f"{_compact(head)[:-1]},{json.dumps(name)}:[\n{rows}\n]}}\n"
    return text.encode("utf-8", "backslashreplace")


def _compact(table: Table) -> str:
    return json.dumps(table, ensure_ascii=False, separators=(",", ":"))
