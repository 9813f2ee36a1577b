"""The manual: pages of man(1), generated from the commands' help and from three pages of docs/.

`make man` writes them to docs/man/man1/, where they are committed and packaged. They have no date:
the same help always generates the same files.
"""

from __future__ import annotations

from .page import all_pages
from .roff import render
from .shared import DOCS

MAN = DOCS / "man" / "man1"


def sources() -> dict[str, str]:
    """Return each file's name and text; git-prov.1, which `git prov --help` opens, is prov.1."""
    pages = {f"{page.name}.1": render(page) for page in all_pages()}
    return pages | {"git-prov.1": ".so man1/prov.1\n"}
