"""Kinds of ids, as distinct types, so that a type checker detects mix-ups.

The id of a git object is 20 bytes (`Oid`). Ref names contain task hashes, output ids and static
keys as 40 hex digits, and BitBake unihashes (SHA-256) as 64.
"""

from __future__ import annotations

from typing import NewType

from prov.store.objects import Oid

CommitId = NewType("CommitId", Oid)
TreeId = NewType("TreeId", Oid)
TaskHash = NewType("TaskHash", Oid)
"""The id of a task's inputs tree."""
OutputId = NewType("OutputId", Oid)
"""The id of an output's tree, which contains a directory and a postprocess script."""
StaticKey = NewType("StaticKey", Oid)
"""A digest of a task's own inputs and its dependencies' static keys, known before a build."""


class Unihash(bytes):
    """The hash by which BitBake tasks name their dependencies: 32 bytes.

    It is a class, because inputs trees mix unihashes with task hashes and output ids.
    """

    __slots__ = ()


EdgeId = TaskHash | OutputId | Unihash
"""The id of a dependency in an inputs tree."""
