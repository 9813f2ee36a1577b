"""Write the site's pages for Sphinx: `python -m tests.site FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from .pages import write_pages

if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
