"""Find classes and list what a recipe inherits from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from prov.errors import RecipeError
from prov.recipes.parsed_files import ParsedFiles
from prov.recipes.recipe import Raw
from prov.text import nearest

CLASSES = Path(__file__).parent / "classes"
BASE = "base"
"""The class inherited by every recipe."""

Layer = tuple[str, Raw]
"""A table to be joined with others, after its origin (such as `class make`)."""


@dataclass(slots=True)
class Classes:
    """The classes of a project. A project's own classes override prov's."""

    folders: tuple[Path, ...]
    files: ParsedFiles
    _paths: dict[str, Path] = field(default_factory=dict)

    def layers(self, names: Iterable[str], recipe_file: Path) -> list[Layer]:
        """Return the tables of class `base`, of the named classes and of the classes they inherit.

        A class comes after the classes it inherits. Raises RecipeError, naming the recipe file, if
        a class does not exist.
        """
        layers = [(f"class {BASE}", self._table(BASE, recipe_file))]
        visited = {BASE}
        for name in names:
            self._add(name, recipe_file, layers, visited)
        return layers

    def _add(self, name: str, recipe_file: Path, layers: list[Layer], visited: set[str]) -> None:
        if name in visited:
            return
        visited.add(name)
        table = self._table(name, recipe_file)
        for inherited in table.get("inherit", []):
            self._add(inherited, recipe_file, layers, visited)
        own_keys = {key: value for key, value in table.items() if key != "inherit"}
        layers.append((f"class {name}", own_keys))

    def _table(self, name: str, recipe_file: Path) -> Raw:
        path = self._paths.get(name)
        if path is None:
            path = self._paths[name] = self._find(name, recipe_file)
        return self.files.parse(path)

    def _find(self, name: str, recipe_file: Path) -> Path:
        folders = (*self.folders, CLASSES)
        for folder in folders:
            path = folder / f"{name}.toml"
            if path.is_file():
                return path
        names = {path.stem for folder in folders for path in folder.glob("*.toml")}
        raise RecipeError(
            f"{recipe_file}: inherit: class {name} does not exist",
            hint=nearest(name, names) or f"use one of {', '.join(sorted(names))}",
        )
