"""Run pages and print each command with its real output, to paste into the page.

Usage: python -m tests.docs PAGE…
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.docs.page import run

for name in sys.argv[1:]:
    for result in run(Path(name)):
        print(f"$ {result.step.command}", *result.output, sep="\n")
        if fault := result.fault():
            print(f"--- {name}:{result.step.line} differs: {fault}", file=sys.stderr)
