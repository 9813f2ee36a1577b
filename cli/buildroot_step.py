"""The program that Buildroot calls before and after each step: a script runs this module.

It does not load the command line, which would take half of its time.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from prov.buildroot import step
from prov.buildroot.call import StepCall
from prov.errors import ProvError
from prov.processes import settle_process
from prov.store.repository import Store

from .output import close_streams, note, open_streams


def main(store: str, words: list[str]) -> int:
    """Record a call; return 1 if that failed, after one line on standard error."""
    try:
        call = StepCall.parse(words, os.environ)
        opened = Store.create(Path(store))
        if call.is_start:
            for problem in step.start(opened, call):
                note(f"prov: a failed step is not recorded: {problem}")
        else:
            step.end(opened, call)
    except KeyboardInterrupt:
        return 130
    except (ProvError, OSError) as error:
        hint = error.hint if isinstance(error, ProvError) else ""
        text = f"prov: {' '.join(words[-3:])}: not recorded: {error}"
        note(f"{text}; hint: {hint}" if hint else text)
        return 1
    return 0


if __name__ == "__main__":
    settle_process()
    open_streams()
    sys.exit(close_streams(main(sys.argv[1], sys.argv[2:])))
