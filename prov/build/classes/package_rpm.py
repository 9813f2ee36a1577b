"""Makes deploy-rpm/rpm/NAME-VERSION-1.ARCH.rpm of every package."""

import glob
import json
import os
import shutil
import subprocess

PN = os.environ["PN"]
EPOCH = os.environ["SOURCE_DATE_EPOCH"]
DEFINES = {
    "_topdir": os.path.abspath("rpmbuild"),
    "_rpmdir": os.path.abspath("rpmbuild/RPMS"),
    "_rpmfilename": "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm",
    "_build_id_links": "none",
    "__os_install_post": "%{nil}",
    "debug_package": "%{nil}",
    "_buildhost": "prov",
    "use_source_date_epoch_as_buildtime": "1",
    "clamp_mtime_to_source_date_epoch": "1",
    "_binary_payload": "w1.gzdio",
    "_dbpath": os.path.abspath("rpmbuild/db"),
}


def spec(name, data, arch, files):
    lines = [
        f"Name: {name}",
        f"Version: {data['version'].replace('-', '_')}",
        "Release: 1",
        f"Summary: {data['summary'] or name}",
    ]
    lines += [f"License: {os.environ['LICENSE']}", f"BuildArch: {arch}", "AutoReqProv: no"]
    lines += [f"Requires: {each}" for each in data["rdepends"]]
    lines += ["%description", data["summary"] or name, "%files", "%defattr(-,root,root)", *files]
    lines += ["%post", "set -e", data["postinst"].replace("%", "%%")] if data["postinst"] else []
    return "\n".join([*lines, ""])


os.makedirs("deploy-rpm/rpm", exist_ok=True)
arch = "noarch" if os.environ["PACKAGE_ARCH"] == "all" else os.environ["ARCH"]
# what is made for one machine is named after it, or two machines' packages would be one file
label = os.environ["PACKAGE_ARCH"] if os.environ["PACKAGE_ARCH"] not in ("all", os.environ["ARCH"]) else arch
with open(f"pkgdata/{PN}/packages.json") as stream:
    packages = json.load(stream)
for name, data in packages.items():
    files = [
        f'"/{path}"' if not os.path.isdir(f"packages-split/{name}/{path}") else f'%dir "/{path}"'
        for path in data["files"]
    ]
    with open("package.spec", "w") as stream:
        stream.write(spec(name, data, arch, files))
    # rpmbuild removes the folder that it packs
    root = os.path.abspath(f"packages-split/{name}")
    command = ["rpmbuild", "-bb", "--quiet", "--noclean", "--buildroot", root, "--target", arch]
    for key, value in DEFINES.items():
        command += ["--define", f"{key} {value}"]
    subprocess.run([*command, "package.spec"], check=True, env=os.environ | {"SOURCE_DATE_EPOCH": EPOCH})
    for made in glob.glob("rpmbuild/RPMS/*.rpm"):
        name = os.path.basename(made).removesuffix(f".{arch}.rpm")
        shutil.move(made, f"deploy-rpm/rpm/{name}.{label}.rpm")
shutil.rmtree("rpmbuild", ignore_errors=True)
