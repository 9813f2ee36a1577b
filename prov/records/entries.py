"""Names of the entries in the trees of a record, an output and an inputs tree.

These names are the format: no other module has them as literals.
"""

from __future__ import annotations

# of a record
INPUTS = b"inputs"
"""The tree whose id is the task hash."""
OUTPUT = b"output"
"""The output; a failed run has none."""
ATTRIBUTES = b"attributes"
"""What git's modes lack of the WORKDIR; in an output, of its content."""
SYSROOT = b"sysroot"
"""The sysroots, as the task saw them: `target` and `native`."""
LOG = b"log"
ENVIRONMENT = b"environment"
FACTS = b"record"
"""Times, result, host and the like: a line each."""
DEFINITION = b"definition"
"""What a task of a recipe needs to run again and is in no hash."""
DATED = b"dated"
"""The attributes of an output of BitBake's, with mtimes."""
SCRIPT = b"script"
"""The script that BitBake ran; in an inputs tree, a task's script."""
SYSROOT_OF = b"sysroot-of"
"""The tasks that BitBake made the sysroots of."""

# of an output
CONTENT = b"content"
POSTPROCESS = b"postprocess"
FIXED = b"fixed"
"""The paths of the only place where the output can be used."""

# of an inputs tree
EDGES = ("after", "from", "needs")
"""The entries that hold edges to other tasks: a folder each, with a blob for each edge."""

SYSROOT_TARGET, SYSROOT_NATIVE = "sysroot/target", "sysroot/native"
"""Paths of the two sysroots in a record."""
