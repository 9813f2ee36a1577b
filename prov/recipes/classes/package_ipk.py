"""Makes deploy-ipk/ipk/NAME_VERSION_ARCH.ipk of every package: an ar archive of two tarballs, as opkg reads them."""

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile

PN = os.environ["PN"]
EPOCH = int(os.environ["SOURCE_DATE_EPOCH"])


def run(*command, **options):
    """Run a tool; its failure ends the task, with what it printed above."""
    done = subprocess.run(command, **options)
    if done.returncode:
        sys.exit(f"{command[0]}: exit status {done.returncode}")
    return done


def owned_by_root(member):
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mtime = EPOCH
    return member


def tarball(path, fill):
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=EPOCH) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
            fill(archive)


def add_tree(archive, top):
    archive.add(top, ".", recursive=False, filter=owned_by_root)
    for folder, folders, files in os.walk(top):
        folders.sort()
        for name in sorted(folders + files):
            path = os.path.join(folder, name)
            archive.add(path, "./" + os.path.relpath(path, top), recursive=False, filter=owned_by_root)


def control(name, data, arch):
    lines = [
        f"Package: {name}",
        f"Version: {data['version']}",
        f"Architecture: {arch}",
        "Maintainer: prov <prov@localhost>",
    ]
    lines += [f"Depends: {', '.join(data['rdepends'])}"] if data["rdepends"] else []
    lines += [
        f"Section: misc\nPriority: optional\nSource: {PN}\nDescription: {' '.join(data['summary'].split()) or name}"
    ]
    return ("\n".join(lines) + "\n").encode()


def add_control(archive, files):
    for name, text, mode in files:
        member = owned_by_root(tarfile.TarInfo(f"./{name}"))
        member.size, member.mode = len(text), mode
        archive.addfile(member, io.BytesIO(text))


os.makedirs("deploy-ipk/ipk", exist_ok=True)
arch = "all" if os.environ["PACKAGE_ARCH"] == "all" else os.environ["ARCH"]
# what is made for one machine is named after it, or two machines' packages would be one file
label = os.environ["PACKAGE_ARCH"] if os.environ["PACKAGE_ARCH"] not in ("all", os.environ["ARCH"]) else arch
with open(f"pkgdata/{PN}/packages.json") as stream:
    packages = json.load(stream)
for name, data in packages.items():
    files = [("control", control(name, data, arch), 0o644)]
    if data["postinst"]:
        files.append(("postinst", f"#!/bin/sh\nset -e\n{data['postinst']}\n".encode(), 0o755))
    tarball("control.tar.gz", lambda archive, files=files: add_control(archive, files))
    tarball("data.tar.gz", lambda archive, top=f"packages-split/{name}": add_tree(archive, top))
    with open("debian-binary", "w") as stream:
        stream.write("2.0\n")
    file = f"deploy-ipk/ipk/{name}_{data['version']}_{label}.ipk"
    # D: no times, no owners
    run("ar", "rcD", file, "debian-binary", "control.tar.gz", "data.tar.gz")
    for part in ("debian-binary", "control.tar.gz", "data.tar.gz"):
        os.unlink(part)
