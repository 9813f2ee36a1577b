"""`prov var`."""

from __future__ import annotations

from typing import Annotated

import typer

from .context import JsonOption, SetOption, StoreOption, open_session
from .output import say_json, say_text


def var(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The variable.")],
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="As which recipe sees it.")],
    json: JsonOption = False,
    settings: SetOption = None,
    store: StoreOption = None,
) -> None:
    """Tell a variable's value and where it came from.

    Example: prov var CFLAGS zlib
    """
    from prov.errors import NameUnknown
    from prov.recipes.variables import PLACES, describe, expand
    from prov.text import nearest

    found = open_session(store, settings, create=True).project.recipe(recipe)
    if name not in found.variables:
        raise NameUnknown(f"{recipe} has no variable {name}", hint=nearest(name, found.variables))
    setting = found.variables[name]
    value = expand(
        setting.value, found.variables, where=str(found.path), keep=PLACES, chain=(name,)
    )
    if json:
        history = [
            {"value": each.value, "origin": each.origin} for each in (*setting.replaced, setting)
        ]
        say_json("variable", name=name, recipe=recipe, expanded=value, history=history)
        return
    for line in describe(setting, name):
        say_text(line)
    say_text(f"expanded: {value}")
