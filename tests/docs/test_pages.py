"""The commands in the documentation succeed and print the output that the pages show."""

from __future__ import annotations

import pytest

from tests.docs.page import TOP, parse, run

pytestmark = pytest.mark.process

PAGES = [
    "README.md",
    "docs/attestation.md",
    "docs/sbom.md",
    "docs/bitbake.md",
    "docs/buildroot.md",
    "docs/history.md",
    "docs/query.md",
    "docs/recipes.md",
    "docs/remotes.md",
    "docs/sharing.md",
    "docs/store.md",
    "docs/tour.md",
    "docs/wrapping.md",
    "docs/reads.md",
]
LEFT_OUT = [
    pytest.param(reason, id=f"{page}:{block.line}")
    for page in PAGES
    for block in parse((TOP / page).read_text(encoding="utf-8"))
    if (reason := block.reason_to_skip())
]


@pytest.mark.parametrize("page", PAGES)
def test_output_matches_the_page(page: str) -> None:
    faults = [
        f"{page}:{result.step.line}: $ {result.step.command}\n{fault}"
        for result in run(TOP / page)
        if (fault := result.fault())
    ]
    assert not faults, "\n\n".join(faults)


@pytest.mark.parametrize("reason", LEFT_OUT)
def test_skipped_block(reason: str) -> None:
    """List each skipped block, with its reason, in pytest's summary."""
    pytest.skip(reason)
