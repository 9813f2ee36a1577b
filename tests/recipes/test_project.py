"""Tests of projects: finding recipes, resolving names, and settings."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from prov.errors import NameUnknown, RecipeError
from prov.recipes.project import Project, allowed_environment
from prov.recipes.recipe import Setting
from tests.recipes.folders import load

HOST = platform.machine()
NATIVE = 'classextend = ["native"]\n'


def refusal(
    root: Path, files: dict[str, str], overrides: dict[str, str] | None = None
) -> RecipeError:
    """Return the error raised when an invalid project is loaded."""
    with pytest.raises(RecipeError) as raised:
        load(root, files, overrides)
    return raised.value


# finding recipes


def test_recipes_are_in_recipe_folders_and_one_level_below(tmp_path: Path) -> None:
    project = load(
        tmp_path,
        {
            "a": "",
            "recipes/b/b.toml": "",
            "recipes/b/src/Cargo.toml": "not = 'a recipe'",
            "recipes/c/other.toml": 'name = "c"',
            "recipes/b/notes.txt": "",
        },
    )
    assert project.names() == ["a", "b", "c"]


def test_folders_are_those_in_the_settings(tmp_path: Path) -> None:
    files = {"one/a.toml": "", "two/b.toml": "", "recipes/c.toml": ""}
    assert load(tmp_path, {**files, "prov.toml": 'recipes = ["one", "two"]'}).names() == ["a", "b"]


def test_a_folder_without_settings_is_a_project(tmp_path: Path) -> None:
    project = Project.load(tmp_path)
    assert (project.names(), project.machine, project.arch) == ([], "default", HOST)
    assert project.builddir == tmp_path / "build"


def test_two_recipes_with_one_name_are_rejected(tmp_path: Path) -> None:
    error = refusal(tmp_path, {"a": "", "recipes/x/x.toml": 'name = "a"'})
    assert str(error).endswith(f"name: {tmp_path}/recipes/a.toml also defines the recipe a")


def test_settings_are_checked(tmp_path: Path) -> None:
    error = refusal(tmp_path, {"prov.toml": "recipe = 3"})
    assert str(error) == f"{tmp_path}/prov.toml: recipe: expected a table, not 3"


def test_a_folder_name_that_is_too_long_is_reported(tmp_path: Path) -> None:
    (tmp_path / "prov.toml").write_text(f'recipes = ["{"a" * 5000}"]')
    with pytest.raises(RecipeError) as raised:
        Project.load(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path}/prov.toml: File name too long: ")
    assert len(str(raised.value)) < 500


# resolving names


def test_names(tmp_path: Path) -> None:
    project = load(
        tmp_path,
        {
            "zlib": NATIVE,
            "gcc": 'provides = ["cc"]\n' + NATIVE,
            "app": 'provides = ["tool"]\n',
        },
    )
    assert project.names() == ["app", "gcc", "zlib"]
    assert project.known_names() == [
        "app",
        "cc",
        "gcc",
        "gcc-native",
        "tool",
        "zlib",
        "zlib-native",
    ]
    resolved = {
        "zlib": "zlib",
        "zlib-native": "zlib-native",
        "app-native": None,
        "cc": "gcc",
        "cc-native": "gcc-native",
        "tool": "app",
        "tool-native": None,
        "zli": None,
    }
    assert {name: project.resolve(name) for name in resolved} == resolved


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("zli", "did you mean zlib?"),
        ("zlib-native", 'add classextend = ["native"] to '),
        ("qqq", ""),
    ],
)
def test_an_unknown_name(tmp_path: Path, name: str, hint: str) -> None:
    project = load(tmp_path, {"zlib": ""})
    with pytest.raises(NameUnknown, match=f"no recipe is named {name}") as raised:
        project.recipe(name)
    assert hint in raised.value.hint


PROVIDERS = {"gcc": 'provides = ["cc"]', "clang": 'provides = ["cc"]', "app": ""}


def test_several_providers_need_a_choice(tmp_path: Path) -> None:
    project = load(tmp_path, PROVIDERS)
    with pytest.raises(RecipeError, match="cc is provided by clang and gcc") as raised:
        project.resolve("cc")
    assert raised.value.hint == 'choose one in prov.toml, such as provider.cc = "clang"'
    assert load(tmp_path, {"prov.toml": 'provider.cc = "gcc"'}).resolve("cc") == "gcc"


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        ('provider.cc = "app"', "provider.cc: app does not provide cc", "use clang or gcc"),
        ('provider.ap = "gcc"', "provider.ap: gcc does not provide ap", "did you mean app"),
        ("[recipe.ap]", "recipe.ap: no recipe is named ap", "did you mean app"),
        ("[recipe.app-native]", "recipe.app-native: no recipe is named app-native", ""),
        ("[recipe.zzz]", "recipe.zzz: no recipe is named zzz", "use one of app, cc, clang, gcc"),
        ('machine = "../x"', "machine: invalid name '../x'", "use at most 60"),
        ('arch = "a b"', "arch: invalid name 'a b'", "use at most 60"),
    ],
)
def test_a_setting_for_an_unknown_name_is_rejected(
    tmp_path: Path, settings: str, message: str, hint: str
) -> None:
    error = refusal(tmp_path, {**PROVIDERS, "prov.toml": settings})
    assert str(error).startswith(f"{tmp_path}/prov.toml: {message}")
    assert hint in error.hint


def test_a_provided_name_cannot_be_a_recipe_s(tmp_path: Path) -> None:
    error = refusal(tmp_path, {"a": "", "b": 'provides = ["a"]'})
    assert "b.toml: provides: a is also the name of a recipe" in str(error)


def test_a_recipe_may_provide_its_own_name(tmp_path: Path) -> None:
    assert load(tmp_path, {"a": 'provides = ["a"]'}).resolve("a") == "a"


# joining recipes


def test_layers_are_joined_in_order(tmp_path: Path) -> None:
    variable = '[variables]\nA = "{0}"\n{0} = ""\n'
    files = {
        "classes/base.toml": variable.format("base"),
        "classes/one.toml": variable.format("one"),
        "app": 'inherit = ["one"]\n' + variable.format("app"),
        "prov.toml": '[variables]\nA = "prov"\n[recipe.app.variables]\nA = "of app"\n',
    }
    settings = load(tmp_path, files, {"A": "all", "app:A": "own"}).recipe("app").variables
    file = tmp_path / "prov.toml"
    assert settings["A"] == Setting(
        "own",
        "--set",
        (
            Setting("base", "class base"),
            Setting("one", "class one"),
            Setting("app", str(tmp_path / "recipes/app.toml")),
            Setting("prov", str(file)),
            Setting("of app", f"{file}: recipe.app"),
            Setting("all", "--set"),
        ),
    )
    assert {"base", "one", "app"} <= settings.keys()


def test_a_variant_has_its_own_table(tmp_path: Path) -> None:
    files = {
        "classes/native.toml": '[variables]\nN = "native"\n',
        "app": NATIVE
        + 'depends = ["lib"]\n[variables]\nA = "1"\n'
        + '[native]\ndepends = ["tool"]\n[native.variables]\nA = "2"\n',
        "prov.toml": '[recipe.app-native.variables]\nB = "3"\n',
    }
    project = load(tmp_path, files)
    app, variant = project.recipe("app"), project.recipe("app-native")
    assert (app.arch, app.depends, app.variables["A"].value) == ("target", ("lib",), "1")
    assert not {"N", "B"} & app.variables.keys()
    assert (variant.name, variant.arch) == ("app-native", "native")
    assert variant.depends == ("lib-native", "tool-native")
    values = {name: variant.variables[name].value for name in ("A", "B", "N")}
    assert values == {"A": "2", "B": "3", "N": "native"}
    assert variant.variables["A"].origin.endswith("app.toml: native")


def test_a_native_recipe_inherits_the_class_native(tmp_path: Path) -> None:
    files = {"classes/native.toml": '[variables]\nN = "1"\n', "app": 'arch = "native"'}
    recipe = load(tmp_path, files).recipe("app")
    assert (recipe.name, "N" in recipe.variables) == ("app", True)


def test_a_recipe_adds_to_the_packages_of_a_class(tmp_path: Path) -> None:
    files = {
        "classes/base.toml": '[packages."${PN}-dev"]\nfiles = ["x"]\n[packages."${BPN}"]\n',
        "app": NATIVE + '[packages.app-dev]\nsummary = "s"\n',
    }
    project = load(tmp_path, files)
    assert dict(project.recipe("app").packages) == {
        "app-dev": {"files": ["x"], "summary": "s"},
        "app": {},
    }
    assert list(project.recipe("app-native").packages) == ["app-native-dev", "app", "app-dev"]


@pytest.mark.parametrize(
    ("arch", "folder", "variables"),
    [
        ("target", "arm", {"ARCH": "arm", "PACKAGE_ARCH": "arm"}),
        ("native", f"{HOST}-native", {"ARCH": HOST, "PACKAGE_ARCH": f"{HOST}-native"}),
        ("cross", f"{HOST}-cross", {"ARCH": HOST, "PACKAGE_ARCH": f"{HOST}-cross"}),
        ("allarch", "all", {"ARCH": "arm", "PACKAGE_ARCH": "all"}),
        ("machine", "board", {"ARCH": "arm", "PACKAGE_ARCH": "board"}),
    ],
)
def test_the_architecture_of_a_recipe(
    tmp_path: Path, arch: str, folder: str, variables: dict[str, str]
) -> None:
    files = {"a": f'arch = "{arch}"', "prov.toml": 'arch = "arm"\nmachine = "board"\n'}
    project = load(tmp_path, files)
    recipe = project.recipe("a")
    assert project.arch_name(recipe) == folder
    assert {name: recipe.variables[name].value for name in variables} == variables


def test_variables_that_prov_sets(tmp_path: Path) -> None:
    files = {
        "a": 'version = "1.2"\nlicense = "MIT"\n[variables]\nSUMMARY = "own"\n' + "[packages.a]"
    }
    variables = load(tmp_path, files).recipe("a").variables
    values = {
        "PN": "a",
        "BPN": "a",
        "PV": "1.2",
        "LICENSE": "MIT",
        "SUMMARY": "own",
        "PACKAGES": '{"a": {}}',
        "SOURCES": "[]",
        "MACHINE": "default",
    }
    assert {name: variables[name].value for name in values} == values
    assert variables["PN"].origin == "prov"
    assert variables["SUMMARY"].origin.endswith("a.toml")


@pytest.mark.parametrize(
    ("text", "metadata"),
    [
        ("", {}),
        ('license = "unknown"\ncpe = []', {}),
        (
            'license = "MIT"\nsummary = "x"\nsupplier = "y"\npurl = "pkg:generic/a@${PV}"',
            {"license": "MIT", "summary": "x", "supplier": "y", "purl": "pkg:generic/a@${PV}"},
        ),
        ('cpe = "cpe:2.3:a:x"', {"cpe": "cpe:2.3:a:x"}),
        ('cpe = ["one", "two"]', {"cpe": "one\ntwo"}),
    ],
)
def test_what_a_recipe_states_about_itself(
    tmp_path: Path, text: str, metadata: dict[str, str]
) -> None:
    recipe = load(tmp_path, {"a": f'version = "1"\n{text}\n'}).recipe("a")
    assert recipe.metadata == metadata
    assert not {"purl", "cpe", "supplier"} & recipe.variables.keys()


def test_numbers_in_the_settings_become_texts(tmp_path: Path) -> None:
    files = {"a": "", "prov.toml": "[variables]\nN = 3\nB = true\n"}
    variables = load(tmp_path, files).recipe("a").variables
    assert (variables["N"].value, variables["B"].value) == ("3", "True")


# --set


def test_the_machine_can_be_set(tmp_path: Path) -> None:
    project = load(tmp_path, {"a": "", "prov.toml": 'machine = "one"'}, {"MACHINE": "two"})
    assert project.machine == "two"
    assert project.recipe("a").variables["MACHINE"] == Setting("two", "prov")


@pytest.mark.parametrize("key", ["A", "a:A", "DEBUG", "a:DEBUG", "PN", "IN_FUNCTION"])
def test_a_variable_of_a_recipe_can_be_set(tmp_path: Path, key: str) -> None:
    recipe = """
[variables]
A = "1"
[functions]
f = "echo ${IN_FUNCTION:-}"
[tasks.go]
script = "echo ${DEBUG:-}"
"""
    variables = load(tmp_path, {"a": recipe, "b": ""}, {key: "x"}).recipe("a").variables
    assert variables[key.rpartition(":")[2]].value == "x"


@pytest.mark.parametrize(
    ("key", "message", "hint"),
    [
        ("CFLGS", "no recipe has a variable CFLGS", "did you mean CFLAGS?"),
        ("a:CFLGS", "a has no variable CFLGS", "did you mean CFLAGS?"),
        ("b:CFLAGS", "b has no variable CFLAGS", "declare "),
        ("USED", "no recipe has a variable USED", "declare "),
        ("aa:CFLAGS", "no recipe is named aa", "did you mean a?"),
        ("a:MACHINE", "MACHINE cannot be set for one recipe", "--set MACHINE=NAME"),
    ],
)
def test_an_unknown_variable(tmp_path: Path, key: str, message: str, hint: str) -> None:
    files = {"a": '[variables]\nCFLAGS = ""\n[tasks.go]\nscript = "echo $USED"', "b": ""}
    error = refusal(tmp_path, files, {key: "x"})
    assert str(error) == f"--set {key}: {message}"
    assert hint in error.hint


# the environment


def test_only_listed_environment_variables_are_passed() -> None:
    environment = {"A": "1", "SECRET": "2"}
    assert allowed_environment(["A", "B"], environment) == {"A": "1"}


@pytest.mark.parametrize("key", ["supplier", "purl", "cpe"])
def test_a_statement_about_a_recipe_is_a_text(tmp_path: Path, key: str) -> None:
    error = refusal(tmp_path, {"a": f'version = "1"\n{key} = 7\n'})
    assert f"a.toml: {key}: " in str(error)


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ("[farm]\nurl = 7", "farm.url"),
        ("[farm]\nverify = 1.5", "farm.verify"),
        ('[farm]\nshortest = "long"', "farm.shortest"),
        ("[farm]\nworkers = 2", "workers"),
        ("[store]\nmin_free = 5", "store.min_free"),
        ("[store]\nsize = 5", "size"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, settings: str, where: str) -> None:
    error = refusal(tmp_path, {"prov.toml": f"{settings}\n", "a": 'version = "1"\n'})
    assert where in str(error)


def test_settings_of_the_farm_and_the_store(tmp_path: Path) -> None:
    text = '[farm]\nurl = "tls://h:1"\nverify = 0.5\nshortest = 2.0\n[store]\nmin_free = "5G"\n'
    settings = load(tmp_path, {"prov.toml": text, "a": 'version = "1"\n'}).settings
    assert settings["farm"] == {"url": "tls://h:1", "verify": 0.5, "shortest": 2.0}
    assert settings["store"] == {"min_free": "5G"}


def test_the_settings_of_a_farm_are_read(tmp_path: Path) -> None:
    text = """\
[farm]
url = "grpcs://build1/main"
properties = { OSFamily = "linux", "container-image" = "docker://x" }
python = "python3.12"
actions = 32
jobs = 4
"""
    farm = load(tmp_path, {"prov.toml": text}).settings["farm"]
    assert farm["url"] == "grpcs://build1/main"
    assert farm["properties"] == {"OSFamily": "linux", "container-image": "docker://x"}
    assert (farm["python"], farm["actions"], farm["jobs"]) == ("python3.12", 32, 4)


def test_properties_of_actions_are_texts(tmp_path: Path) -> None:
    error = refusal(tmp_path, {"prov.toml": "[farm]\nproperties = { cores = 4 }\n"})
    assert str(error) == f"{tmp_path}/prov.toml: farm.properties.cores: expected a string, not 4"
