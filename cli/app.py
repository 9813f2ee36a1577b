"""The commands `prov` and `git prov`: their table, and the one place where errors become exit
codes.

Exit 1 for a failed build or an expected error, 2 for wrong usage, 130 for ^C, 3 for a bug of prov's
own.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
import traceback

import typer

import prov
from prov.errors import ProvError
from prov.processes import settle_process
from prov.text import one_line

from .commands import LazyGroup
from .output import close_streams, note, open_streams, say

app = typer.Typer(
    name="prov",
    cls=LazyGroup,
    help="Provenance for builds, kept in git: every task's WORKDIR a commit, every output a tree.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_HINTS = {
    errno.ENOSPC: (
        "make room on the disk of the store and of the build directory, then run the same again"
    ),
    errno.EIO: "a disk fails; the kernel's log tells more",
    errno.EDQUOT: "the quota is used up; make room, then run the same again",
}


def _version(requested: bool) -> None:
    if requested:
        say(f"prov {prov.__version__}")
        raise typer.Exit


@app.callback()
def main_options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Provenance for builds, kept in git: every task's WORKDIR a commit, every output a tree."""


def _other_prov() -> bool:
    """Tell whether the W3C PROV library of the same import name shares this environment: each
    overwrites the other.
    """
    return prov.__file__ is None or os.path.exists(
        os.path.join(os.path.dirname(prov.__file__), "model.py")
    )


def main() -> None:
    """Run the command line; never returns."""
    settle_process()
    # Commands make many small values and few cycles, and end soon: collecting seldom saves a fifth
    # of a large plan.
    gc.set_threshold(100_000, 50, 100)

    open_streams()
    sys.exit(close_streams(_run()))


def _run() -> int:
    """Run the command line; return its exit status."""
    if _other_prov():
        note(
            "prov: the package `prov` (W3C provenance) is installed over git-prov's modules of the"
            " same name"
        )
        note(
            "  hint: pip uninstall prov git-prov, then install git-prov into an environment of"
            " its own"
        )
        return 1
    try:
        app()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except KeyboardInterrupt:
        note("prov: interrupted; the next build goes on from here")
        return 130
    except Exception as error:
        return report_error(error)
    return 0


def report_error(error: Exception) -> int:
    """Print an error; return the exit status that it stands for."""
    if not isinstance(error, (ProvError, OSError)):
        traceback.print_exception(error)
        note("prov: this is a bug of prov's own; please report it with the lines above")
        return 3
    note(f"prov: {one_line(str(error))}")
    hint = error.hint if isinstance(error, ProvError) else _HINTS.get(error.errno or 0, "")
    if hint:
        note(f"  hint: {one_line(hint)}")
    return 1
