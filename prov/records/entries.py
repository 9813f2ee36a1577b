"""Names of the entries in records, outputs and inputs trees.

These names are part of the format. No other module contains them as literals.
"""

from __future__ import annotations

# of a record
INPUTS = b"inputs"
"""The tree whose id is the task hash."""
OUTPUT = b"output"
"""The output; missing for a failed run."""
WHOLE = b"whole"
"""The directory after a command whose output has no name; never published without the WORKDIR."""
ATTRIBUTES = b"attributes"
"""The attributes, which git's modes lack, of the WORKDIR or of an output's content."""
SYSROOT = b"sysroot"
"""The sysroots as seen by the task: `target` and `native`."""
LOG = b"log"
ENVIRONMENT = b"environment"
FACTS = b"record"
"""Times, result, host and other facts, one on each line."""
DEFINITION = b"definition"
"""The data that a rerun of a recipe's task needs and that is not hashed."""
DATED = b"dated"
"""The attributes, with mtimes, of a BitBake task's output."""
READS = b"reads"
"""The list of what the task read (`prov.reads.reads`); part of no hash."""
CHANGES = b"changes"
"""The paths that a command changed (`prov.wrapped.changes`), if later runs can make its changes."""
SCRIPT = b"script"
"""The script run by BitBake; in an inputs tree, a task's script."""
SYSROOT_OF = b"sysroot-of"
"""The tasks from which BitBake made the sysroots."""

# of an output
CONTENT = b"content"
POSTPROCESS = b"postprocess"
FIXED = b"fixed"
"""The paths to which an output is tied that is not relocatable."""

# of an inputs tree
FROM = "from"
"""The entry for tasks from whose outputs a task starts."""
NEEDS = "needs"
"""The entry for tasks whose outputs a task has in its sysroots."""
EDGES = ("after", FROM, NEEDS)
"""The entries for edges to other tasks: folders with a blob for each edge."""

SYSROOT_TARGET, SYSROOT_NATIVE = "sysroot/target", "sysroot/native"
"""The paths of the two sysroots in a record."""
