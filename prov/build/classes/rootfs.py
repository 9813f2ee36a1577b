"""Unpacks the packages of an image into rootfs/, those that others need first, and lists them in manifest/packages."""

import glob
import os
import re
import subprocess
import sys

TYPE = os.environ["IMAGE_PKGTYPE"]


def output(*command):
    return subprocess.run(command, capture_output=True, check=True).stdout


def fields_of_control(text):
    fields = dict(re.findall(r"^([\w-]+):\s*(.*)$", text.decode(), re.MULTILINE))
    depends = [re.sub(r"\s*\(.*?\)", "", each).strip() for each in fields.get("Depends", "").split(",")]
    return fields["Package"], fields["Version"], [each for each in depends if each]


def read_deb(path):
    return fields_of_control(output("dpkg-deb", "--field", path))


def read_ipk(path):
    packed = output("ar", "p", path, "control.tar.gz")
    return fields_of_control(
        subprocess.run(["tar", "-xzO", "./control"], input=packed, capture_output=True, check=True).stdout
    )


def read_rpm(path):
    name, version, *needs = (
        output("rpm", "--query", "--package", "--queryformat", "%{NAME}\n%{VERSION}\n[%{REQUIRENAME}\n]", path)
        .decode()
        .split("\n")
    )
    return name, version, [each for each in needs if each and not each.startswith("rpmlib(")]


def unpack_deb(path):
    subprocess.run(["dpkg-deb", "--extract", path, "rootfs"], check=True)


def unpack_ipk(path):
    packed = output("ar", "p", path, "data.tar.gz")
    subprocess.run(["tar", "-xz", "--no-same-owner", "-p", "-C", "rootfs"], input=packed, check=True)


def unpack_rpm(path):
    packed = output("rpm2cpio", path)
    subprocess.run(
        ["cpio", "--extract", "--make-directories", "--no-preserve-owner", "--quiet"],
        input=packed,
        cwd="rootfs",
        check=True,
    )


READ = {"deb": read_deb, "ipk": read_ipk, "rpm": read_rpm}
UNPACK = {"deb": unpack_deb, "ipk": unpack_ipk, "rpm": unpack_rpm}


def order(wanted, known):
    """Return the packages wanted and all that they need, every one after those that it needs."""
    done, open_ = [], []

    def visit(name, asker):
        if name in done or name in open_:  # packages may need each other: then either order will do
            return
        if name not in known:
            sys.exit(
                f"{asker} needs the package {name}, which no recipe of this image makes; is it empty, or misspelt?"
            )
        open_.append(name)
        for other in sorted(known[name][2]):
            visit(other, name)
        open_.remove(name)
        done.append(name)

    for name in wanted:
        visit(name.replace("_", "-") if TYPE == "deb" else name, "IMAGE_INSTALL")
    return done


known = {}
for path in sorted(glob.glob(f"deploy-{TYPE}/{TYPE}/*.{TYPE}")):
    name, version, needs = READ[TYPE](path)
    known[name] = (path, version, needs)
with open("manifest/packages", "w") as manifest:
    for name in order(os.environ["IMAGE_INSTALL"].split(), known):
        path, version, _ = known[name]
        print(f"{name} {version}")
        UNPACK[TYPE](path)
        manifest.write(f"{name} {version}\n")
