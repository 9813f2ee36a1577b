"""Makes deploy-rpm/rpm/NAME-VERSION-1.ARCH.rpm of every package."""

import glob
import json
import os
import re
import shutil
import subprocess
import sys

PN = os.environ["PN"]
EPOCH = os.environ["SOURCE_DATE_EPOCH"]


def literal(text):
    """Return a text in which rpm finds no macro."""
    return text.replace("%", "%%")


DEFINES = {
    "_topdir": literal(os.path.abspath("rpmbuild")),
    "_rpmdir": literal(os.path.abspath("rpmbuild/RPMS")),
    "_rpmfilename": "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm",
    "_build_id_links": "none",
    "__os_install_post": "%{nil}",
    "debug_package": "%{nil}",
    "_buildhost": "prov",
    "use_source_date_epoch_as_buildtime": "1",
    "clamp_mtime_to_source_date_epoch": "1",
    "_binary_payload": "w1.gzdio",
    "_dbpath": literal(os.path.abspath("rpmbuild/db")),
}


def run(*command, **options):
    """Run a tool; its failure ends the task, with what it printed above."""
    done = subprocess.run(command, **options)
    if done.returncode:
        sys.exit(f"{command[0]}: exit status {done.returncode}")
    return done


def file_line(name, path):
    """Return the line of a file in the list of a spec: what rpm would expand becomes `?`, which is any character."""
    if "\n" in path:
        sys.exit(f"QA: {name}: {path!r}: rpm can't package a name with a newline")
    real = f"packages-split/{name}/{path}"
    if re.search(r'["%*?\[\]{}\\]', path):
        path = re.sub(r'["%*?\[\]{}\\\s]', "?", path)  # a pattern may hold no blanks
    quoted = f'"/{path}"'
    return f"%dir {quoted}" if os.path.isdir(real) else quoted


def spec(name, data, arch):
    summary = literal(" ".join(data["summary"].split()) or name)
    lines = [f"Name: {name}", f"Version: {literal(data['version']).replace('-', '_')}", "Release: 1"]
    lines += [f"Summary: {summary}", f"License: {literal(' '.join(os.environ['LICENSE'].split()))}"]
    lines += [f"BuildArch: {arch}", "AutoReqProv: no"]
    lines += [f"Requires: {literal(each)}" for each in data["rdepends"]]
    lines += ["%description", summary, "%files", "%defattr(-,root,root)"]
    lines += [file_line(name, path) for path in data["files"]]
    lines += ["%post", "set -e", literal(data["postinst"])] if data["postinst"] else []
    return "\n".join([*lines, ""])


os.makedirs("deploy-rpm/rpm", exist_ok=True)
arch = "noarch" if os.environ["PACKAGE_ARCH"] == "all" else os.environ["ARCH"]
# what is made for one machine is named after it, or two machines' packages would be one file
label = os.environ["PACKAGE_ARCH"] if os.environ["PACKAGE_ARCH"] not in ("all", os.environ["ARCH"]) else arch
with open(f"pkgdata/{PN}/packages.json") as stream:
    packages = json.load(stream)
for name, data in packages.items():
    with open("package.spec", "w", errors="surrogateescape") as stream:
        stream.write(spec(name, data, arch))
    # rpmbuild removes the folder that it packs
    root = os.path.abspath(f"packages-split/{name}")
    command = ["rpmbuild", "-bb", "--quiet", "--noclean", "--buildroot", root, "--target", arch]
    for key, value in DEFINES.items():
        command += ["--define", f"{key} {value}"]
    run(*command, "package.spec", env=os.environ | {"SOURCE_DATE_EPOCH": EPOCH})
    for made in glob.glob("rpmbuild/RPMS/*.rpm"):
        name = os.path.basename(made).removesuffix(f".{arch}.rpm")
        shutil.move(made, f"deploy-rpm/rpm/{name}.{label}.rpm")
shutil.rmtree("rpmbuild", ignore_errors=True)
