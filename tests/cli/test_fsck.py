"""`prov fsck` as a process: damage, its report, its repair, and the next build."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.story import Project
from tests.fsck.damage import flip, git_says

pytestmark = pytest.mark.process

CHAIN = """
version = '1'
build = ['pack']

[tasks.make]
outputdir = 'out'
script = '''
mkdir -p out temp-files
echo made > out/made
echo only in the WORKDIR > temp-files/left
'''

[tasks.pack]
from = ['make']
outputdir = 'packed'
script = '''
mkdir -p packed
cat out/made > packed/file
'''
"""


@pytest.fixture
def built(small: Project) -> Project:
    small.write("recipes/a.toml", CHAIN)
    small.prov("build", "a:pack")
    assert small.ask("fsck") == "no errors\n"
    return small


def oid_of(project: Project, text: str) -> str:
    """Return the id of the blob with a text."""
    path = project.write("../text", text)
    return project.git("hash-object", str(path)).strip()


def lose(project: Project, *oids: str) -> None:
    """Damage objects in their packs."""
    for index in (project.root / ".prov/objects/pack").glob("*.idx"):
        for line in project.git("verify-pack", "-v", str(index)).splitlines():
            parts = line.split()
            if parts[0] in oids:
                flip(index.with_suffix(".pack"), int(parts[4]) + 5, 3)


def outputs(project: Project) -> str:
    return project.git("for-each-ref", "refs/prov/output")


def store(project: Project) -> Path:
    return project.root / ".prov"


def test_damaged_objects_are_restored_from_a_workdir(built: Project) -> None:
    refs = built.refs()
    lose(built, oid_of(built, "only in the WORKDIR\n"), oid_of(built, "made\n"))
    answer = built.ask("fsck", code=1)
    assert "is unreadable in the damaged" in answer
    assert "needed by refs/" in answer
    assert "run `prov fsck --repair` to repair" in answer
    answer = built.ask("fsck", "--repair")
    assert "restored" in answer
    assert answer.endswith("all errors repaired\n")
    assert git_says(store(built)) == ""
    assert built.refs() == refs
    assert "nothing to do" in built.ask("build", "a:pack")


def test_result_without_a_copy_is_deleted_and_built_again(built: Project) -> None:
    before = outputs(built)
    shutil.rmtree(built.root / "build")
    shutil.rmtree(store(built) / "prov")
    lose(built, oid_of(built, "made\n"))
    assert "with --repair: search pools" in built.ask("fsck", code=1)
    answer = built.ask("fsck", "--repair")
    assert "deleted: its objects are lost" in answer
    assert git_says(store(built)) == ""
    assert outputs(built) != before
    assert "2 ran" in built.ask("build", "a:pack")
    assert outputs(built) == before
    assert built.ask("fsck") == "no errors\n"


def test_lost_workdir_causes_no_run(built: Project) -> None:
    before = outputs(built)
    shutil.rmtree(built.root / "build")
    shutil.rmtree(store(built) / "prov")
    lose(built, oid_of(built, "only in the WORKDIR\n"))
    answer = built.ask("fsck", "--repair")
    assert "reduced to its record: its WORKDIR is lost" in answer
    assert outputs(built) == before
    assert git_says(store(built)) == ""
    built.prov("build", "a:pack")
    assert built.json("builds")["builds"][0]["facts"].get("ran", "0") == "0"
    assert built.ask("fsck") == "no errors\n"


def test_json_lists_problems_and_repairs(built: Project) -> None:
    assert built.json("fsck") == {
        "schema": 1,
        "kind": "fsck",
        "problems": [],
        "done": [],
        "left": [],
    }
    lose(built, oid_of(built, "made\n"))
    answer = built.json("fsck", code=1)
    assert {problem["kind"] for problem in answer["problems"]} >= {"pack", "object"}
    assert all(row["where"] and row["what"] and row["repair"] for row in answer["problems"])
    assert answer["left"] == answer["problems"]
    answer = built.json("fsck", "--repair")
    assert answer["done"] and answer["left"] == []


def test_damaged_pool_file_is_replaced(story: Project) -> None:
    file = next(
        path for path in sorted((store(story) / "prov/pool").glob("??/*")) if path.lstat().st_size
    )
    shutil.copy(file, file.with_name("copy"))  # the fixture shares it with other tests
    file.with_name("copy").replace(file)
    answer = story.ask("fsck", code=1)
    assert f"error: pool {file.relative_to(store(story))}: " in answer
    story.prov("fsck", "--repair")
    assert not file.exists()
    assert story.ask("fsck", "--full") == "no errors\n"
    story.prov("build", "demo-image")


def test_a_store_without_its_head(built: Project) -> None:
    (store(built) / "HEAD").unlink()
    assert "error: store HEAD" in built.ask("fsck", code=1)
    built.prov("fsck", "--repair")
    assert built.ask("fsck") == "no errors\n"


def test_damage_reported_by_other_commands_names_fsck(built: Project) -> None:
    for pack in (store(built) / "objects/pack").glob("*.idx"):
        pack.chmod(0o644)
        pack.write_bytes(b"cut off")
    assert "prov fsck --repair" in built.refused("build", "a:pack")
    assert built.ask("fsck", code=1)
    built.prov("fsck", "--repair")
    assert "nothing to do" in built.ask("build", "a:pack")
