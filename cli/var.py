"""`prov var`."""

from __future__ import annotations

from typing import Annotated

import typer

from prov.errors import NameUnknown
from prov.recipes import variables
from prov.text import nearest

from .context import JsonOption, SetOption, StoreOption, open_session
from .output import say_json, say_text


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The variable.")],
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="The recipe.")],
    json: JsonOption = False,
    settings: SetOption = None,
    store: StoreOption = None,
) -> None:
    """Show a variable's value and where it is set.

    Example:

        prov var CFLAGS zlib
    """
    seen = open_session(store, settings, create=True).project.recipe(recipe)
    if name not in seen.variables:
        raise NameUnknown(f"{recipe} has no variable {name}", hint=nearest(name, seen.variables))
    setting = seen.variables[name]
    value = variables.expand(
        setting.value, seen.variables, where=str(seen.path), keep=variables.PLACES, chain=(name,)
    )
    if json:
        values = [*setting.replaced, setting]
        history = [{"value": step.value, "origin": step.origin} for step in values]
        say_json("variable", name=name, recipe=recipe, expanded=value, history=history)
        return
    for line in variables.describe(setting, name):
        say_text(line)
    say_text(f"expanded: {value}")
