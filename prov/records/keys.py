"""Task keys: `recipe:task`, the name of a task in a project and in everything that is recorded."""

from __future__ import annotations

import re

from prov.errors import ProvError

LONGEST_NAME = 200
"""Of a recipe's or a task's name, in letters: both are folders in names of refs."""
RESERVED_RECIPES = ("failed", "outside")
"""Names that stand where a recipe's name does in refs of other kinds."""
_PART = re.compile(r"[\w+-][\w.+-]*", re.ASCII)


class TaskKey(str):
    """A task's name: `zlib:compile`. A str, so that keys sort, hash and print as their text."""

    __slots__ = ()

    @classmethod
    def of(cls, recipe: str, task: str) -> TaskKey:
        """Return the key of a recipe's task."""
        return cls(f"{recipe}:{task}")

    @classmethod
    def from_path(cls, path: str) -> TaskKey:
        """Return the key whose refs stand below a path: `zlib/compile`."""
        recipe, _, task = path.partition("/")
        return cls(f"{recipe}:{task}")

    @classmethod
    def parse(cls, text: str) -> TaskKey:
        """Return the key that a user wrote, if it can be part of a ref. Raises ProvError."""
        key = cls(text)
        if ":" not in text or not is_name(key.recipe) or not is_name(key.task):
            raise ProvError(f"{text}: invalid task name", hint=NAME_HINT)
        if key.recipe in RESERVED_RECIPES:
            raise ProvError(f"{text}: {key.recipe} is reserved", hint="use another recipe name")
        return key

    @property
    def recipe(self) -> str:
        """The part before the first colon."""
        return self.partition(":")[0]

    @property
    def task(self) -> str:
        """The part after the first colon; empty in a recipe's name alone."""
        return self.partition(":")[2]

    @property
    def path(self) -> str:
        """The key as two folders of a ref's name: `zlib/compile`."""
        return self.replace(":", "/")


NAME_HINT = (
    f"use RECIPE:TASK, each at most {LONGEST_NAME} letters, digits and . _ + -, as in app:compile"
)


def is_name(text: str) -> bool:
    """Return whether a text can be a recipe's or a task's name, and so a part of a ref's name."""
    return (
        _PART.fullmatch(text) is not None
        and ".." not in text
        and not text.endswith((".lock", "."))
        and len(text) <= LONGEST_NAME
    )
