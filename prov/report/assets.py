"""Files beside this module that pages and drawings are made of: a template, style sheets, a script.

They are files of their own so that linters and editors read them as what they are.
"""

from __future__ import annotations

from importlib import resources


def asset(name: str) -> str:
    """Return the text of a file: `page.html`, `report.css`, `report.js`, `drawing.css`."""
    return resources.files("prov.report").joinpath(name).read_text("utf-8")
