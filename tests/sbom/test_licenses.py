"""Only texts with the syntax of SPDX are expressions."""

from __future__ import annotations

import pytest

from prov.sbom.licenses import expression


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("MIT", "MIT"),
        ("MIT & BSD-3-Clause", "MIT AND BSD-3-Clause"),
        ("MIT|(Zlib&BSD-2-Clause)", "MIT OR (Zlib AND BSD-2-Clause)"),
        ("GPL-2.0-only WITH GCC-exception-2.0", "GPL-2.0-only WITH GCC-exception-2.0"),
        ("GPL-2.0+", "GPL-2.0+"),
        ("DocumentRef-x:LicenseRef-y", "DocumentRef-x:LicenseRef-y"),
        ("ANDROID", "ANDROID"),
        ("", ""),
        ("GPL 100%", ""),
        ("GPL v2", ""),
        ("MIT AND", ""),
        ("AND MIT", ""),
        ("(MIT", ""),
        ("MIT)", ""),
        ("()", ""),
        ("MIT (Zlib)", ""),
        ("MIT OR AND Zlib", ""),
    ],
)
def test_expression(text: str, result: str) -> None:
    assert expression(text) == result
