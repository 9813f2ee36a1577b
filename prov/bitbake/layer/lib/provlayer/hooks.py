"""Hooks into the making of sysroots that are not called where prov composes them: each is named,
with its line.

What may be hooked is what a recipe stages (SYSROOT_PREPROCESS_FUNCS), and what is to be done in
each sysroot that it comes into (a script postinst-NAME in its programs' folder).
"""

import os
import re

import bb

STAGING = "staging.bbclass"
SCRIPT = "let the recipe install a script ${bindir}/postinst-NAME: it is run in each sysroot"
BEFORE = "use SYSROOT_PREPROCESS_FUNCS: it changes what is staged"
VARIABLES = {
    "SSTATEPOSTINST": SCRIPT,
    "SSTATEPOSTINSTFUNCS": SCRIPT,
    "SYSROOT_PREFUNCS": BEFORE,
    "SYSROOT_POSTFUNCS": SCRIPT,
    "SYSROOT_POSTPROCESS_FUNCS": SCRIPT,
}
"""What nobody reads, or what does not touch a recipe's own sysroots, and what to do instead."""
FUNCTIONS = ("extend_recipe_sysroot", "staging_copyfile", "staging_copydir", "staging_processfixme")
"""Functions of staging.bbclass that compose sysroots."""
TOLD = "PROV_HOOKS_TOLD"


def configure(d):
    """Name what the configuration hooks, once for all recipes."""
    if bb.utils.to_boolean(d.getVar("PROV_SYSROOTS")):
        d.setVar(TOLD, " ".join(tell(d)))


def tell(d):
    """Warn of every hook that is not called, unless that was told; return where they are:
    FILE:LINE.
    """
    told = set((d.getVar(TOLD) or "").split())
    found = [each for each in find(d) if each[1] not in told]
    for what, where, instead in found:
        bb.warn(f"prov: {where}: {what} has no effect on sysroots that prov composes: {instead}")
    return [where for _, where, _ in found]


def find(d):
    """Return the hooks: what it is, FILE:LINE, and what to do instead."""
    found = []
    for name, instead in VARIABLES.items():
        if (d.getVar(name) or "").strip():
            found.append((name, _line(d, rf"(export\s+)?{name}\b[^=(\[]*="), instead))
    for name in FUNCTIONS:
        if d.getVar(name, False) is None:
            continue
        filename = d.getVarFlag(name, "filename", False) or ""
        if os.path.basename(filename) != STAGING:
            found.append(
                (name, "{}:{}".format(filename, d.getVarFlag(name, "lineno", False)), BEFORE)
            )
        if any(d.getVarFlag(name, flag, False) for flag in (":append", ":prepend", ":remove")):
            found.append(
                (
                    name,
                    _line(d, rf"(fakeroot\s+|python\s+)*{name}(:|_)(append|prepend|remove)"),
                    SCRIPT,
                )
            )
        if any(d.getVarFlag(name, flag, False) for flag in ("prefuncs", "postfuncs")):
            found.append((name, _line(d, rf"{name}\[(prefuncs|postfuncs)\]"), SCRIPT))
    return found


def _line(d, pattern):
    """Return the last FILE:LINE of what was read that begins with a pattern; without a line if none
    does.
    """
    found = ""
    for path in (d.getVar("BBINCLUDED") or "").split():
        try:
            with open(path, errors="replace") as stream:
                lines = stream.readlines()
        except OSError:
            continue
        for number, line in enumerate(lines, 1):
            if os.path.basename(path) not in (STAGING, "sstate.bbclass") and re.match(
                pattern, line
            ):
                found = f"{path}:{number}"
    return found or d.getVar("FILE") or "the configuration"
