"""Name the elements of a bill. A name depends only on what was recorded."""

from __future__ import annotations

import os

from prov.sbom.encoding import quoted
from prov.sbom.origins import Origin
from prov.sbom.task_graph import TaskId


def file_ref(origin: Origin) -> str:
    """Return the ref of a file where it was made, or where a task found it."""
    kind = "start" if origin.is_start else "made"
    return _inside(kind, origin.task, origin.path)


def image_ref(task: TaskId, path: bytes) -> str:
    """Return the ref of a file in the output of a target."""
    return _inside("file", task, path)


def input_ref(kind: str, task: TaskId, name: str) -> str:
    """Return the ref of a task's own source or patch."""
    return _inside(kind, task, os.fsencode(name))


def task_ref(task: TaskId) -> str:
    return f"task:{task.task_hash.hex()}"


def output_ref(task: TaskId) -> str:
    return f"output:{task.task_hash.hex()}"


def workdir_ref(task: TaskId) -> str:
    return f"workdir:{task.task_hash.hex()}"


def package_ref(recipe: str) -> str:
    return f"package:{quoted(recipe)}"


def _inside(kind: str, task: TaskId, path: bytes) -> str:
    return f"{kind}:{task.task_hash.hex()}/{quoted(os.fsdecode(path), '/+:@~,')}"


def text_of(path: bytes) -> str:
    r"""Return a path as text in Unicode: an invalid byte becomes an escape such as `\xff`."""
    return path.decode("utf-8", "backslashreplace")
