"""Makes deploy-deb/deb/NAME_VERSION_ARCH.deb of every package, the same bytes from the same content."""

import json
import os
import subprocess
import sys

PN = os.environ["PN"]
EPOCH = int(os.environ["SOURCE_DATE_EPOCH"])
NAMES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "i386", "armv7l": "armhf"}


def run(*command, **options):
    """Run a tool; its failure ends the task, with what it printed above."""
    done = subprocess.run(command, **options)
    if done.returncode:
        sys.exit(f"{command[0]}: exit status {done.returncode}")
    return done


def control(name, data, arch):
    lines = [f"Package: {name.replace('_', '-')}", f"Version: {data['version']}", f"Architecture: {arch}"]
    lines += ["Maintainer: prov <prov@localhost>", "Section: misc", "Priority: optional"]
    if data["rdepends"]:
        lines.append(f"Depends: {', '.join(each.replace('_', '-') for each in data['rdepends'])}")
    lines.append(f"Description: {' '.join(data['summary'].split()) or name}")
    return "\n".join(lines) + "\n"


def date(top):
    for folder, folders, files in os.walk(top):
        for name in [".", *folders, *files]:
            os.utime(os.path.join(folder, name), (EPOCH, EPOCH), follow_symlinks=False)


os.makedirs("deploy-deb/deb", exist_ok=True)
arch = "all" if os.environ["PACKAGE_ARCH"] == "all" else NAMES.get(os.environ["ARCH"], os.environ["ARCH"])
# what is made for one machine is named after it, or two machines' packages would be one file
label = os.environ["PACKAGE_ARCH"] if os.environ["PACKAGE_ARCH"] not in ("all", os.environ["ARCH"]) else arch
with open(f"pkgdata/{PN}/packages.json") as stream:
    packages = json.load(stream)
for name, data in packages.items():
    top = f"packages-split/{name}"
    os.mkdir(f"{top}/DEBIAN", 0o755)
    with open(f"{top}/DEBIAN/control", "w") as stream:
        stream.write(control(name, data, arch))
    if data["postinst"]:
        with open(f"{top}/DEBIAN/postinst", "w") as stream:
            stream.write(f"#!/bin/sh\nset -e\n{data['postinst']}\n")
        os.chmod(f"{top}/DEBIAN/postinst", 0o755)
    date(top)
    file = f"deploy-deb/deb/{name.replace('_', '-')}_{data['version']}_{label}.deb"
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH)}
    run("dpkg-deb", "--root-owner-group", "-Zxz", "-z1", "--build", top, file, env=environment)
