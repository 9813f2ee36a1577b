"""Kinds of ids: each a type of its own, so that a type checker finds one in the place of another.

An id of a git object is 20 bytes (`Oid`). A task hash, an output id and a static key are written
with 40 hex digits in the names of refs, a BitBake unihash with 64 (SHA-256).
"""

from __future__ import annotations

from typing import NewType

from prov.store.objects import Oid

CommitId = NewType("CommitId", Oid)
TreeId = NewType("TreeId", Oid)
TaskHash = NewType("TaskHash", Oid)
"""The id of the tree that holds a task's inputs."""
OutputId = NewType("OutputId", Oid)
"""The id of the tree that holds an output: its directory and its postprocess script."""
StaticKey = NewType("StaticKey", Oid)
"""A digest of a task's own inputs and its dependencies' static keys; known before anything ran."""


class Unihash(bytes):
    """The hash by which BitBake's tasks name their dependencies: 32 bytes.

    A class of its own, since it stands in inputs trees where task hashes and output ids do.
    """

    __slots__ = ()


EdgeId = TaskHash | OutputId | Unihash
"""What stands in an inputs tree for another task."""
