"""Task keys: `recipe:task`, the name of a task in a project and in records."""

from __future__ import annotations

import re

from prov.errors import ProvError

LONGEST_NAME = 200
"""Maximum length of a recipe or task name, in characters; both are folders in ref names."""
RESERVED_RECIPES = ("failed", "outside")
"""Names that refs of other kinds have in place of a recipe."""
_PART = re.compile(r"[\w+-][\w.+-]*", re.ASCII)


class TaskKey(str):
    """A task's name, such as `zlib:compile`. As a str, it sorts, hashes and prints as text."""

    __slots__ = ()

    @classmethod
    def of(cls, recipe: str, task: str) -> TaskKey:
        """Return the key of a recipe's task."""
        return cls(f"{recipe}:{task}")

    @classmethod
    def from_path(cls, path: str) -> TaskKey:
        """Return the key for the path in its refs, such as `zlib/compile`."""
        recipe, _, task = path.partition("/")
        return cls(f"{recipe}:{task}")

    @classmethod
    def parse(cls, text: str) -> TaskKey:
        """Parse a user's text. Raises ProvError if it cannot be part of a ref."""
        key = cls(text)
        if ":" not in text or not is_name(key.recipe) or not is_name(key.task):
            raise ProvError(f"invalid task name {text!r}", hint=NAME_HINT)
        if key.recipe in RESERVED_RECIPES:
            raise ProvError(
                f"invalid task name {text!r}: the recipe name {key.recipe} is reserved",
                hint="use a different recipe name",
            )
        return key

    @property
    def recipe(self) -> str:
        """The part before the first colon."""
        return self.partition(":")[0]

    @property
    def task(self) -> str:
        """The part after the first colon; empty if there is none."""
        return self.partition(":")[2]

    @property
    def path(self) -> str:
        """The key as two folders of a ref name, such as `zlib/compile`."""
        return self.replace(":", "/")


NAME_HINT = (
    f"use RECIPE:TASK, each at most {LONGEST_NAME} letters, digits and . _ + -, such as app:compile"
)


def is_name(text: str) -> bool:
    """Return whether a text is valid as a recipe or task name, and so as part of a ref name."""
    return (
        _PART.fullmatch(text) is not None
        and ".." not in text
        and not text.endswith((".lock", "."))
        and len(text) <= LONGEST_NAME
    )
