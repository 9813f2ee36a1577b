"""Tests of the shipped classes that neither the demo nor fixtures/world uses."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.commands import run_prov
from tests.schema.check import read_answer

pytestmark = pytest.mark.process

DEMO = Path(__file__).parents[2] / "fixtures" / "demo"
TOOLS = {
    "ipk": ("ar",),
    "rpm": ("rpmbuild", "rpm2cpio", "cpio"),
    "meson": ("meson", "ninja"),
    "cmake": ("cmake", "ninja"),
}


def need(kind: str) -> None:
    missing = [tool for tool in TOOLS[kind] if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {' '.join(missing)}")


def prov(root: Path, *arguments: str) -> str:
    done = run_prov(*arguments, cwd=root)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def image_project(root: Path, kind: str) -> Path:
    shutil.copytree(DEMO, root, ignore=shutil.ignore_patterns(".prov", "build"))
    for path in root.glob("recipes/*/*.toml"):
        path.write_text(
            path.read_text().replace('"package_deb", "package_ipk"', f'"package_{kind}"')
        )
    image = root / "recipes/demo-image/demo-image.toml"
    image.write_text(image.read_text().replace("image_deb", f"image_{kind}"))
    return root


@pytest.mark.parametrize("kind", ["ipk", "rpm"])
def test_image_of_packages_is_whole_and_the_same_in_two_places(tmp_path: Path, kind: str) -> None:
    need(kind)
    outputs = []
    for name, sandbox in (("one", "auto"), ("another", "none")):
        root = image_project(tmp_path / name / "demo", kind)
        prov(root, "build", "--sandbox", sandbox, "demo-image")
        images = root / "build/deploy/images/demo"
        assert (
            images / "demo-image-demo.manifest"
        ).read_text() == "words 1.0\ngreet 2.1\nhello 1.2\n"
        with tarfile.open(images / "demo-image-demo.tar.gz") as archive:
            assert "./usr/bin/hello" in archive.getnames()
        tasks = (f"hello:package_{kind}", "demo-image:image")
        outputs.append(
            [read_answer(prov(root, "show", task, "--json"))["output"] for task in tasks]
        )
    assert outputs[0] == outputs[1]


BUILD_FILES = {
    "meson": ("meson.build", "project('p', 'c')\nexecutable('p', 'p.c', install: true)\n"),
    "cmake": (
        "CMakeLists.txt",
        (
            "cmake_minimum_required(VERSION 3.13)\nproject(p C)\n"
            "add_executable(p p.c)\ninstall(TARGETS p DESTINATION bin)\n"
        ),
    ),
}


@pytest.mark.parametrize("kind", ["meson", "cmake"])
@pytest.mark.parametrize("sandbox", ["none", "auto"])
def test_program_is_built_and_installed(tmp_path: Path, kind: str, sandbox: str) -> None:
    need(kind)
    source = tmp_path / "recipes/p/p"
    source.mkdir(parents=True)
    name, text = BUILD_FILES[kind]
    (source / name).write_text(text)
    (source / "p.c").write_text(
        '#include <stdio.h>\nint main(void) { return puts("built") < 0; }\n'
    )
    recipe = (
        f"version = '1'\ninherit = ['{kind}']\nsources = [{{ file = 'p' }}]\n[variables]\nS ="
        " '${WORKDIR}/p'\n"
    )
    (tmp_path / "recipes/p/p.toml").write_text(recipe)
    (tmp_path / "prov.toml").write_text("recipes = ['recipes']\n")
    prov(tmp_path, "build", "--sandbox", sandbox, "p:install")
    prov(tmp_path, "checkout", "p:install@output", str(tmp_path / "out"))
    done = subprocess.run(
        [tmp_path / "out/image/usr/bin/p"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "built\n"


ODD = ["%name%", 'a "q" b', "[x]*?{y}", "b\\s", " lead", "it's", "$HOME `id`", "%%"]
ODD_RECIPE = """
version = "1.0"
inherit = ["package_rpm", "package_deb", "package_ipk"]
summary = '''uses %{name} and 100% of "it"
%files
Depends: everything'''
license = "GPL 100% \\"q\\""
[tasks.install]
hosttools = []
interpreter = "python3"
script = '''
import os
os.chdir(os.environ["D"])
os.makedirs("usr/bin")
os.makedirs("usr/share/d %{x}")
for name in NAMES:
    open(f"usr/bin/{name}", "w").write(name)
'''
"""


def test_packages_of_odd_names_and_texts(tmp_path: Path) -> None:
    for kind in ("rpm", "ipk"):
        need(kind)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "prov.toml").write_text("")
    (tmp_path / "recipes/x.toml").write_text(ODD_RECIPE.replace("NAMES", repr(ODD)))
    prov(tmp_path, "build", "x:package_rpm", "x:package_deb", "x:package_ipk")
    deploy = tmp_path / "build/deploy"
    summary = 'uses %{name} and 100% of "it" %files Depends: everything'
    form = "%{SUMMARY}|%{LICENSE}\n[%{FILENAMES}\n]"
    packages = map(str, deploy.glob("rpm/x-1.0*.rpm"))
    query = ["rpm", "--query", "--package", "--queryformat", form, *packages]
    first, *files = subprocess.run(
        query, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert first == f'{summary}|GPL 100% "q"'
    assert sorted(files) == sorted([*(f"/usr/bin/{name}" for name in ODD), "/usr/share/d %{x}"])
    (deb,) = deploy.glob("deb/x_1.0*.deb")
    fields = subprocess.run(
        ["dpkg-deb", "--field", deb], capture_output=True, text=True, check=True
    ).stdout
    assert f"Description: {summary}\n" in fields and "\nDepends" not in fields
    (ipk,) = deploy.glob("ipk/x_1.0*.ipk")
    packed = subprocess.run(
        ["ar", "p", ipk, "control.tar.gz"], capture_output=True, check=True
    ).stdout
    control = subprocess.run(
        ["tar", "-xzO", "./control"], input=packed, capture_output=True, check=True
    ).stdout.decode()
    assert f"Description: {summary}\n" in control and "\nDepends" not in control
