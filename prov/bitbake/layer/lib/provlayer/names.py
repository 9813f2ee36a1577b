"""Check that BitBake and OpenEmbedded-Core have the functions that the layer replaces or calls.

These functions are not a public interface. If a new release renamed one, replacing it would have no
effect, without an error. A feature that lacks a function is therefore disabled, and a warning names
the function when a build starts.
"""

import importlib.util

import bb

RECORDING = ("dump_sigtask", "stampfile_base", "stampfile_mcfn", "tidtopn")
"""Attributes of BitBake's signature generator."""
CACHE = (
    "sstate_archive_package",
    "sstate_unpack_package",
    "sstate_create_and_sign_package",
    "sstate_clean_cachefile",
)
"""Functions of sstate.bbclass."""
SYSROOTS = ("extend_recipe_sysroot", "setscene_depvalid")
"""Functions of staging.bbclass and sstate.bbclass."""
STALE = ("sstate_eventhandler_stalesstate", "sstate_eventhandler_reachablestamps")
"""Event handlers of sstate.bbclass that remove staged files."""
MISSING = "PROV_MISSING"


def configure(d):
    """Disable features that lack a function in the configuration; save the reasons for `check`."""
    from provlayer import facts

    reasons = []
    lacking = [name for name in CACHE if d.getVar(name, False) is None]
    if facts.cache_mode(d) and lacking:
        d.setVar("PROV_CACHE", "0")
        reasons.append(f"{_listed(lacking)}: PROV_CACHE is disabled for this build")
    lacking = [name for name in SYSROOTS if d.getVar(name, False) is None]
    if d.getVar("BB_SETSCENE_DEPVALID") and "setscene_depvalid" in lacking:
        lacking.remove("setscene_depvalid")
    handlers = bb.event.get_class_handlers()
    lacking += [name for name in STALE if not any(each.endswith(name) for each in handlers)]
    if bb.utils.to_boolean(d.getVar("PROV_SYSROOTS")) and lacking:
        d.setVar("PROV_SYSROOTS", "0")
        reasons.append(f"{_listed(lacking)}: PROV_SYSROOTS is disabled for this build")
    d.setVar(MISSING, "; ".join(reasons))


def check(d):
    """Warn about missing functions. Return the names of those that recording needs, as a text."""
    from provlayer import stale

    reasons = [d.getVar(MISSING)] if d.getVar(MISSING) else []
    if bb.utils.to_boolean(d.getVar("PROV_SYSROOTS")) and stale.options() is None:
        reasons.append(
            "cooker.configuration.dry_run: `bitbake -n` removes staged files, as without prov"
        )
    lacking = ["siggen." + name for name in RECORDING if not hasattr(bb.parse.siggen, name)]
    for module, names in (
        (bb.runqueue, ("taskname_from_tid", "mc_from_tid")),
        (bb.build, ("exec_func",)),
    ):
        lacking += [f"{module.__name__}.{name}" for name in names if not hasattr(module, name)]
    if importlib.util.find_spec("bb.compress.zstd") is None:
        lacking.append("bb.compress.zstd")
    if lacking:
        reasons.append(f"{_listed(lacking)}: this build is not recorded")
    if reasons:
        bb.warn(
            "prov: this release of BitBake or OpenEmbedded-Core lacks {}".format("; ".join(reasons))
        )
    return _listed(lacking)


def _listed(names):
    return ", ".join(names)
