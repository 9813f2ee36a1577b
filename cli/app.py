"""The commands `prov` and `git prov`: global options, and the exit status of each error.

The status is 1 for a failed build or an expected error, 2 for wrong usage, 3 for a bug in prov, and
130 for ^C.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

import prov
from prov.errors import ProvError
from prov.processes import settle_process
from prov.text import one_line

from . import global_options
from .commands import LazyGroup
from .output import close_streams, note, open_streams, say

ABOUT = "Record builds in git: each task's WORKDIR a commit, each output a tree."

app = typer.Typer(
    name="prov",
    cls=LazyGroup,
    help=ABOUT,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_HINTS = {
    errno.ENOSPC: (
        "free space on the disks of the store and the build directory, and run the command again"
    ),
    errno.EIO: "check the disk: run `dmesg` for the kernel's messages",
    errno.EDQUOT: "free space in your quota, and run the command again",
}


def _version(requested: bool) -> None:
    if requested:
        say(f"prov {prov.__version__}")
        raise typer.Exit


Folder = Annotated[
    Path | None,
    typer.Option(
        "-C",
        metavar="DIR",
        callback=global_options.change_directory,
        is_eager=True,
        help="Run as if prov was started in DIR.",
    ),
]
StoreFolder = Annotated[
    Path | None,
    typer.Option("--store", metavar="DIR", help="Use this store. Default: $PROV_STORE, or .prov."),
]
NoPager = Annotated[
    bool,
    typer.Option(
        "--no-pager",
        callback=global_options.disable_pager,
        help="Print long answers without a pager.",
    ),
]
Version = Annotated[
    bool,
    typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
]


@app.callback()
def main_options(
    ctx: typer.Context,
    folder: Folder = None,
    store: StoreFolder = None,
    no_pager: NoPager = False,
    version: Version = False,
) -> None:
    ctx.obj = store


def _other_prov() -> bool:
    """Return whether the W3C PROV library, which has the same import name, overwrote prov."""
    return prov.__file__ is None or os.path.exists(
        os.path.join(os.path.dirname(prov.__file__), "model.py")
    )


def main() -> None:
    """Run the command line; never returns."""
    settle_process()
    # Commands create many small values and few cycles, and end soon. Rare collections save a fifth
    # of the time of a large plan.
    gc.set_threshold(100_000, 50, 100)

    open_streams()
    sys.exit(close_streams(_run()))


def _run() -> int:
    """Run the command line; return its exit status."""
    if _other_prov():
        note("prov: the package `prov` (W3C provenance) overwrote modules of git-prov")
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
        note("prov: interrupted; run the command again to continue")
        return 130
    except Exception as error:
        return report_error(error)
    return 0


def report_error(error: Exception) -> int:
    """Print an error; return its exit status."""
    if not isinstance(error, (ProvError, OSError)):
        traceback.print_exception(error)
        note("prov: this is a bug in prov; please report it with the lines above")
        return 3
    text = str(error)
    if isinstance(error, OSError) and isinstance(error.filename, (str, bytes)):
        text = f"{os.fsdecode(error.filename)}: {error.strerror}"
    note(f"prov: {one_line(text)}")
    hint = error.hint if isinstance(error, ProvError) else _HINTS.get(error.errno or 0, "")
    if hint:
        note(f"  hint: {one_line(hint)}")
    return 1
