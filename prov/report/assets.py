"""Read the assets of pages and drawings in this folder: a template, style sheets and a script.

They are separate files so that linters and editors recognize their types.
"""

from __future__ import annotations

from importlib import resources


def asset(name: str) -> str:
    """Return the text of `page.html`, `report.css`, `report.js` or `drawing.css`."""
    return resources.files("prov.report").joinpath(name).read_text("utf-8")
