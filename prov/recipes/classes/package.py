"""Splits image/ into packages-split/NAME, finds run-time dependencies, writes pkgdata/PN/packages.json.

A file goes to the first package with a pattern (as gitignore has them) that matches its path. A package depends on those
that hold the shared libraries that its programs are linked to, on those with the pkg-config modules that its own require,
and on what the recipe declares. What nobody provides, and what no package takes, fails the task.
"""

import json
import os
import re
import subprocess
import sys

from pathspec import GitIgnoreSpec

PN, PV = os.environ["PN"], os.environ["PV"]
ASSUMED = set(os.environ["ASSUME_SHLIBS"].split())
LAST = [f"{PN}{suffix}" for suffix in ("-staticdev", "-dev", "-doc", "-locale", "")]


def run(*command, **options):
    """Run a tool; its failure ends the task, with what it printed above."""
    done = subprocess.run(command, **options)
    if done.returncode:
        sys.exit(f"{command[0]}: exit status {done.returncode}")
    return done


def ordered(packages):
    own = [name for name in packages if name not in LAST]
    return own + [name for name in LAST if name in packages]


def split(packages):
    """Move every file to its package; return package -> sorted paths."""
    specs = [(name, GitIgnoreSpec.from_lines(packages[name].get("files", []))) for name in ordered(packages)]
    found, homeless = {name: [] for name, _ in specs}, []
    for folder, folders, files in os.walk("image"):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        empty = [] if folders or files or folder == "image" else ["."]
        for name in sorted(files + links + empty):
            path = os.path.normpath(os.path.join(folder, name))
            inside = os.path.relpath(path, "image") + ("/" if name == "." else "")
            owner = next((name for name, spec in specs if spec.match_file(inside)), None)
            if owner is None:
                homeless.append(inside)
            else:
                found[owner].append(inside.rstrip("/"))
    if homeless:
        sys.exit(
            f"QA: installed, but in no package: {', '.join(homeless[:5])}; add a package whose `files` match, or don't install it"
        )
    for name, paths in found.items():
        for path in paths:
            target = os.path.join("packages-split", name, path)
            make_folders(os.path.dirname(path), os.path.join("packages-split", name))
            os.rename(os.path.join("image", path), target)
    return {name: sorted(paths) for name, paths in found.items()}


def make_folders(path, top):
    """Make a package's folders with the modes that they have in the image."""
    at = ""
    os.makedirs(top, exist_ok=True)
    for part in [part for part in path.split("/") if part]:
        at = os.path.join(at, part)
        if not os.path.isdir(os.path.join(top, at)):
            os.mkdir(os.path.join(top, at))
            os.chmod(os.path.join(top, at), os.stat(os.path.join("image", at)).st_mode & 0o7777)


def is_elf(path):
    if os.path.islink(path) or not os.path.isfile(path):
        return False
    with open(path, "rb") as stream:
        return stream.read(4) == b"\x7fELF"


def dynamic(path):
    """Return (soname or "", libraries needed) of an ELF file."""
    text = run("readelf", "-d", "--wide", path, stdout=subprocess.PIPE, text=True).stdout
    soname = re.search(r"\(SONAME\).*\[(.*)\]", text)
    return (soname[1] if soname else ""), re.findall(r"\(NEEDED\).*\[(.*)\]", text)


def pc_requires(path):
    with open(path, encoding="utf-8", errors="replace") as stream:
        text = stream.read()
    fields = re.findall(r"^Requires(?:\.private)?:\s*(.*)$", text, re.MULTILINE)
    return [word for field in fields for word in re.split(r"[\s,]+", re.sub(r"[<>=!]+\s*\S+", "", field)) if word]


def describe(name, paths, settings):
    """Return what is known of one package, its dependencies as libraries and modules still."""
    data = {
        "version": PV,
        "summary": settings.get("summary", os.environ.get("SUMMARY", "")),
        "recipe": PN,
        "files": paths,
        "postinst": settings.get("postinst", ""),
    }
    data |= {"shlibs": [], "needs": [], "pc": [], "pc_requires": [], "rdepends": list(settings.get("rdepends", []))}
    for path in paths:
        full = os.path.join("packages-split", name, path)
        if is_elf(full):
            soname, needed = dynamic(full)
            data["shlibs"] += [soname] if soname else []
            data["needs"] += [(library, path) for library in needed]
        elif path.endswith(".pc"):
            data["pc"].append(os.path.basename(path).removesuffix(".pc"))
            data["pc_requires"] += pc_requires(full)
    return data


def providers(own):
    """Return (library -> package, pkg-config module -> package) of this recipe and of what it depends on."""
    known = dict(own)
    for recipe in sorted(os.listdir("pkgdata")):
        path = os.path.join("pkgdata", recipe, "packages.json")
        if recipe != PN and os.path.exists(path):
            with open(path) as stream:
                known |= {name: data for name, data in json.load(stream).items() if name not in own}
    libraries = {library: name for name, data in known.items() for library in data["shlibs"]}
    return libraries, {module: name for name, data in known.items() for module in data["pc"]}


def main():
    settings = json.loads(os.environ["PACKAGES"])
    files = split(settings)
    kept = {name: paths for name, paths in files.items() if paths or settings[name].get("allow_empty")}
    packages = {name: describe(name, paths, settings[name]) for name, paths in kept.items()}
    libraries, modules = providers(packages)
    problems = []
    for name, data in packages.items():
        for library, path in data.pop("needs"):
            if library in libraries:
                data["rdepends"].append(libraries[library])
            elif library not in ASSUMED:
                problems.append(
                    f"{name}: {path} needs {library}, which no dependency provides; add its recipe to `depends`"
                )
        data["rdepends"] += [modules[module] for module in data.pop("pc_requires") if module in modules]
        if name == f"{PN}-dev" and PN in packages:
            data["rdepends"].append(PN)
        data["rdepends"] = sorted(set(data["rdepends"]) - {name})
        data["shlibs"] = sorted(set(data["shlibs"]))
    if problems:
        sys.exit("\n".join(f"QA: {problem}" for problem in problems))
    for name in packages:
        os.makedirs(os.path.join("packages-split", name), exist_ok=True)
    with open(os.path.join("pkgdata", PN, "packages.json"), "w") as stream:
        json.dump(packages, stream, indent=1, sort_keys=True)
        stream.write("\n")
    for name, data in packages.items():
        print(f"{name}: {len(data['files'])} files, needs {' '.join(data['rdepends']) or 'nothing'}")


main()
