"""`prov sbom`: the demo's image, in each format, and of which it has the sources."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.story import Project, small_project
from tests.cli.sysroots import sandbox
from tests.sbom.spdx_files import NEEDS_MODEL, by_id, elements, load, shacl_errors, sources_of
from tests.sbom.test_cyclonedx import errors

pytestmark = pytest.mark.process

COPY = "mkdir out && cp in out/copy && echo more >> out/copy"


def bill(project: Project, *arguments: str) -> bytes:
    return project.ask("sbom", *arguments).encode()


def package_named(document: bytes, name: str) -> dict[str, Any]:
    return next(each for each in by_id(document).values() if each.get("name") == name)


def test_every_file_of_the_image_has_its_sources(story: Project) -> None:
    document = bill(story)
    assert load(document).missing_ids == set()
    sources = sources_of(document)
    assert "rootfs/usr/bin/hello" in sources
    assert all(sources.values()), sources
    if sandbox() == "bwrap":
        assert {"sources/hello/hello.c", "sources/hello/usage.txt"} <= sources[
            "rootfs/usr/bin/hello"
        ]
        # the tool that made a part of it, and the header of a library
        assert "sources/embed/embed.c" in sources["rootfs/usr/bin/hello"]
        assert "sources/greet/greet.h" in sources["rootfs/usr/bin/hello"]
        assert "sources/hello/hello.c" not in sources["rootfs/usr/lib/libwords.so.1"]


@NEEDS_MODEL
def test_the_shapes_accept_the_image(story: Project) -> None:
    assert shacl_errors(bill(story)) == []


def test_digests_are_those_of_the_deployed_files(story: Project) -> None:
    rows = [each for each in elements(bill(story)) if each["type"] == "software_File"]
    files = {each["name"]: each for each in rows}
    path = "images/demo/demo-image-demo.tar.gz"
    deployed = story.root / "build" / "deploy" / path
    hashes = files[f"deploy-image/{path}"]["verifiedUsing"]
    digests = {row["algorithm"]: row["hashValue"] for row in hashes}
    for algorithm, digest in digests.items():
        done = subprocess.run([f"{algorithm}sum", deployed], capture_output=True, check=True)
        assert done.stdout.split()[0].decode() == digest


def test_the_same_build_has_the_same_bytes(story: Project, tmp_path: Path) -> None:
    first = bill(story)
    (story.root / ".prov/prov/contents").unlink()
    shutil.copytree(story.root, tmp_path / "copy", symlinks=True)
    assert bill(Project(tmp_path / "copy")) == first
    story.prov("build", "demo-image")
    assert bill(story, "latest~1") == first


def test_cyclonedx(story: Project) -> None:
    story.prov("sbom", "--format", "cyclonedx", "-o", "image.cdx.json")
    data = (story.root / "image.cdx.json").read_bytes()
    assert errors(data) == []
    names = [row["name"] for row in json.loads(data)["components"]]
    assert names[:5] == ["demo-image", "embed-native", "greet", "hello", "words"]


def test_omnibor(story: Project) -> None:
    story.prov("sbom", "--format", "omnibor", "-o", "graph")
    lines = (story.root / "graph/targets").read_text().splitlines()
    if sandbox() != "bwrap":
        assert lines == []
        return
    for line in lines:
        _, manifest = line.split()
        *_, kind, digits = manifest.split(":")
        path = story.root / f"graph/manifests/gitoid_blob_{kind}/{digits[:2]}/{digits[2:]}"
        assert path.read_text().startswith(f"gitoid:blob:{kind}\n")


def test_omnibor_needs_a_directory(story: Project) -> None:
    done = story.prov("sbom", "--format", "omnibor", code=2)
    assert "pass --output DIR" in done.stderr


def test_unknown_names(story: Project) -> None:
    assert "no build is named nothing" in story.refused("sbom", "nothing")
    assert "did you mean hello:compile" in story.refused("sbom", "hello:compil")
    assert "name a task, such as words:" in story.refused("sbom", "words")


def test_what_recipes_state_changes_no_hash(story: Project) -> None:
    recipe = "recipes/hello/hello.toml"
    text = (story.root / recipe).read_text()
    lines = 'supplier = "Example"\npurl = "pkg:generic/hi@${PV}"\ncpe = "cpe:2.3:a:x:hello:${PV}"\n'
    story.write(recipe, f'license = "MIT & Zlib"\n{lines}{text}')
    assert " ran" not in story.prov("build", "demo-image").stderr
    package = package_named(bill(story), "hello")
    assert package["software_packageUrl"] == "pkg:generic/hi@1.2"
    assert package["externalIdentifier"][0]["identifier"] == "cpe:2.3:a:x:hello:1.2"
    earlier = package_named(bill(story, "latest~1"), "hello")
    assert earlier["software_packageUrl"] == "pkg:generic/hello@1.2"


def test_a_result_fetched_without_records_is_noted(story: Project, tmp_path: Path) -> None:
    story.prov("remote", "add", "box", str(tmp_path / "box"), "--push")
    story.prov("push")
    clone = Project(tmp_path / "clone")
    shutil.copytree(story.root, clone.root, ignore=shutil.ignore_patterns(".prov", "build"))
    clone.prov("init")
    clone.prov("remote", "add", "box", str(tmp_path / "box"))
    clone.prov("build", "demo-image")
    done = clone.prov("sbom")
    assert "not recorded in this store, such as demo-image:rootfs" in done.stderr
    assert load(done.stdout.encode()).missing_ids == set()
    assert "not recorded in this store: demo-image:rootfs" in done.stdout


def test_objects_with_depfiles_have_their_own_sources(tmp_path: Path) -> None:
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    project = small_project(tmp_path / "small")
    project.write("recipes/one.c", '#include "one.h"\nint one(void) { return ONE; }\n')
    project.write("recipes/one.h", "#define ONE 1\n")
    project.write("recipes/two.c", "int two(void) { return 2; }\n")
    project.write(
        "recipes/a.toml",
        "version = '1'\nbuild = ['go']\n"
        "sources = [{ file = 'one.c' }, { file = 'one.h' }, { file = 'two.c' }]\n"
        "[tasks.fetch]\ninterpreter = 'sh'\nscript = 'true'\n"
        "[tasks.go]\nfrom = ['fetch']\noutputdir = 'out'\nhosttools = ['@toolchain']\n"
        "script = 'mkdir -p out && cd sources && for x in one two; do"
        " gcc -MD -c $x.c -o ../out/$x.o && mv ../out/$x.d $x.d; done'\n",
    )
    project.prov("build", "a")
    sources = sources_of(bill(project))
    stated = {
        each["from"].rpartition("/")[2]: {target.rpartition("/")[2] for target in each["to"]}
        for each in by_id(bill(project)).values()
        if each.get("relationshipType") == "dependsOn" and "#file:" in each["from"]
    }
    assert stated == {"one.o": {"one.c", "one.h"}, "two.o": {"two.c"}}
    assert set(sources) == {"out/one.o", "out/two.o"}


def test_a_recorded_command(tmp_path: Path) -> None:
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    project = Project(tmp_path)
    project.write("in", "the content of an input file\n")
    project.prov("run", "--trace", "--as", "a:b", "--output", "out", "--", "sh", "-c", COPY)
    names = {each["name"] for each in elements(bill(project)) if each["type"] == "software_File"}
    assert {"in", "out/copy"} <= names
