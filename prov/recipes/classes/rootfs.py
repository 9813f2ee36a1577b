"""Unpacks the packages of an image into rootfs/, those that others need first, and lists them in manifest/packages.

Then their postinst scripts run, in the same order, with D for the root directory and native tools on PATH.
"""

import glob
import os
import re
import subprocess
import sys
import tempfile

TYPE = os.environ["IMAGE_PKGTYPE"]


def run(*command, **options):
    """Run a tool; its failure ends the task, with what it printed above."""
    done = subprocess.run(command, **options)
    if done.returncode:
        sys.exit(f"{command[0]}: exit status {done.returncode}")
    return done


def output(*command, **options):
    return run(*command, stdout=subprocess.PIPE, **options).stdout


def fields_of_control(text):
    fields = dict(re.findall(r"^([\w-]+):\s*(.*)$", text.decode(), re.MULTILINE))
    depends = [re.sub(r"\s*\(.*?\)", "", each).strip() for each in fields.get("Depends", "").split(",")]
    return fields["Package"], fields["Version"], [each for each in depends if each]


def read_deb(path):
    return fields_of_control(output("dpkg-deb", "--field", path))


def read_ipk(path):
    packed = output("ar", "p", path, "control.tar.gz")
    return fields_of_control(output("tar", "-xzO", "./control", input=packed))


def read_rpm(path):
    name, version, *needs = (
        output("rpm", "--query", "--package", "--queryformat", "%{NAME}\n%{VERSION}\n[%{REQUIRENAME}\n]", path)
        .decode()
        .split("\n")
    )
    return name, version, [each for each in needs if each and not each.startswith("rpmlib(")]


def unpack_deb(path):
    run("dpkg-deb", "--extract", path, "rootfs")


def unpack_ipk(path):
    packed = output("ar", "p", path, "data.tar.gz")
    run("tar", "-xz", "--no-same-owner", "-p", "-C", "rootfs", input=packed)


def unpack_rpm(path):
    packed = output("rpm2cpio", path)
    run("cpio", "--extract", "--make-directories", "--no-preserve-owner", "--quiet", input=packed, cwd="rootfs")


def postinst_deb(path):
    with tempfile.TemporaryDirectory() as folder:
        run("dpkg-deb", "--control", path, folder)
        return read_if_there(os.path.join(folder, "postinst"))


def postinst_ipk(path):
    with tempfile.TemporaryDirectory() as folder:
        run("tar", "-xz", "-C", folder, input=output("ar", "p", path, "control.tar.gz"))
        return read_if_there(os.path.join(folder, "postinst"))


def postinst_rpm(path):
    text = output("rpm", "--query", "--package", "--queryformat", "%{POSTIN}", path).decode()
    return "" if text == "(none)" else text


def read_if_there(path):
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def run_postinst(name, script):
    environment = os.environ | {"D": os.path.abspath("rootfs")}
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as stream:
        stream.write(script)
        stream.flush()
        done = subprocess.run(["sh", "-e", stream.name, "configure"], env=environment, check=False)
    if done.returncode:
        sys.exit(f"the postinst script of {name} ended with {done.returncode}; what it printed is above")


READ = {"deb": read_deb, "ipk": read_ipk, "rpm": read_rpm}
UNPACK = {"deb": unpack_deb, "ipk": unpack_ipk, "rpm": unpack_rpm}
POSTINST = {"deb": postinst_deb, "ipk": postinst_ipk, "rpm": postinst_rpm}


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
wanted = order(os.environ["IMAGE_INSTALL"].split(), known)
with open("manifest/packages", "w") as manifest:
    for name in wanted:
        path, version, _ = known[name]
        print(f"{name} {version}")
        UNPACK[TYPE](path)
        manifest.write(f"{name} {version}\n")
for name in wanted:
    script = POSTINST[TYPE](known[name][0])
    if script:
        print(f"postinst of {name}", flush=True)
        run_postinst(name, script)
