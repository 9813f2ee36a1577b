"""Random projects for the property test: recipes as data, random edits, and their TOML."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path

HOSTTOOLS = "sh cat chmod cp env mkdir rm sed make touch ls tr od head sort find date true"

MAKEFILE = """\
all: out.txt
out.txt: in.txt
\\t@cat in.txt > out.txt; echo made >> out.txt
"""

LEFT = [
    "true",
    "touch left; chmod 000 left",
    "mkdir -p left/inside; touch left/inside/x; chmod 000 left/inside left",
    "mkdir -p temp/left/inside; touch temp/left/inside/x; chmod 000 temp/left/inside temp/left",
    "mkdir -p left/d/d/d/d/d/d/d/d; chmod 500 left; touch x; chmod 200 x",
]
"""Commands that leave odd files in a WORKDIR."""
POSTS = [
    "",
    'echo one > "$OUTPUT_DIR/post-{name}"',
    'ls > "$OUTPUT_DIR/index-{name}"',
    'mkdir -p d; echo "of {name}" >> d/all; rm -f {name}.txt',
]


@dataclass
class Recipe:
    """One generated recipe. Small integers select what its tasks do; an edit changes one field."""

    name: str
    depends: list[str] = field(default_factory=list)
    source: int = 0
    value: int = 0
    unused: int = 0
    edit: int = 0
    comment: int = 0
    deletes: bool = False
    undeclared: int = 0
    fails: bool = False
    exported: int = 0
    count: int = 0
    own: int = 0
    """A variable set by the script itself, which is not an input."""
    leaves: int = 0
    arch: str = "target"
    deploys: bool = False
    shares: bool = False
    """Whether it deploys `shared.txt`; at most one recipe may."""
    post: int = 0
    whole: bool = False
    """Whether the project itself is a source."""

    def toml(self) -> str:
        comment = f"# a comment, version {self.comment}"
        needs = json.dumps([f"{name}:give" for name in self.depends])
        delete = "rm -f extra.txt" if self.deletes else "true"
        fail = "exit 7" if self.fails else "true"
        sources = f'{{ file = "src-{self.name}" }}'
        if self.whole:
            sources += ', { file = "..", name = "whole" }'
        deploy = f"deploy = {str(self.deploys).lower()}"
        if self.post:
            deploy += f"\npostprocess = '''{POSTS[self.post].format(name=self.name)}'''"
        shared = f"echo of {self.name} > give/shared.txt" if self.shares else "true"
        return f"""
version = "1"
arch = "{self.arch}"
build = ["give"]
sources = [{sources}]

[variables]
VALUE = "v{self.value}"
UNUSED = "u{self.unused}"
EXPORTED = "e{self.exported}"
COUNT = "{self.count}"
OWN = "o{self.own}"

[tasks.prepare]
inputs = ["sources"]
script = '''
cp -r sources/src-{self.name} work
printf '{MAKEFILE}' > work/Makefile
if [ -d sources/whole ]; then ls -A sources/whole/recipes > whole; fi
echo extra > extra.txt
'''

[tasks.alter]
after = ["prepare"]
script = '''
{comment}
sed -i 's/^first .*/first {self.edit} '"$VALUE"'/' work/in.txt
echo undeclared {self.undeclared} > undeclared.txt
{delete}
od -An -N8 -tx1 /dev/urandom
'''

[tasks.make]
after = ["alter"]
needs = {needs}
script = '''
{LEFT[self.leaves]}
{fail}
export EXPORTED
env | sed -n '/^EXPORTED=/p' >> work/in.txt
OWN=mine
echo $((COUNT + 1)) $OWN >> work/in.txt
cat "$RECIPE_SYSROOT"/*.txt >> work/in.txt 2>/dev/null || true
cd work
make
'''

[tasks.give]
after = ["make"]
outputdir = "give"
{deploy}
script = '''
cp work/out.txt give/{self.name}.txt
if [ -e extra.txt ]; then echo extra >> give/{self.name}.txt; fi
{shared}
'''

[tasks.count]
from = ["give"]
outputdir = "count"
script = 'ls give > count/names'
"""

    def source_text(self) -> str:
        return f"first line\nsource {self.source // 2}\n"


def random_recipes(random_: random.Random) -> dict[str, Recipe]:
    """Return two to five recipes that depend on some of the previous ones."""
    recipes: dict[str, Recipe] = {}
    for number in range(random_.randint(2, 5)):
        known = list(recipes)
        recipe = Recipe(
            f"r{number}", sorted(random_.sample(known, random_.randint(0, min(2, len(known)))))
        )
        recipe.source, recipe.value = random_.randint(0, 3), random_.randint(0, 3)
        recipes[recipe.name] = recipe
    return recipes


NUMBERS = [
    "source",
    "value",
    "unused",
    "edit",
    "comment",
    "undeclared",
    "exported",
    "count",
    "own",
    "post",
]
TRUTHS = ["deletes", "deploys", "whole"]
ARCHITECTURES = ["target", "allarch", "machine"]


def edit(random_: random.Random, recipes: dict[str, Recipe]) -> str:
    """Make one change in one recipe; return its name."""
    recipe = random_.choice(list(recipes.values()))
    what = random_.choice([*NUMBERS, *TRUTHS, "depends", "leaves", "arch", "shares"])
    if what in TRUTHS:
        setattr(recipe, what, not getattr(recipe, what))
    elif what == "depends":
        earlier = [name for name in recipes if name < recipe.name]
        recipe.depends = sorted(random_.sample(earlier, random_.randint(0, len(earlier))))
    elif what == "leaves":
        recipe.leaves = random_.randrange(len(LEFT))
    elif what == "arch":
        recipe.arch = random_.choice(ARCHITECTURES)
    elif what == "shares":
        for each in recipes.values():
            each.shares = each is recipe
    else:
        setattr(recipe, what, random_.randint(0, 3))
    return f"{recipe.name}.{what}"


def write_project(root: Path, recipes: dict[str, Recipe], sandbox: str = "none") -> None:
    """Write a project's files, without touching unchanged ones."""
    settings = (
        f'recipes = ["recipes"]\nsandbox = "{sandbox}"\n[variables]\nHOSTTOOLS = "{HOSTTOOLS}"\n'
    )
    texts = {root / "prov.toml": settings}
    for recipe in recipes.values():
        texts[root / "recipes" / f"{recipe.name}.toml"] = recipe.toml()
        texts[root / "recipes" / f"src-{recipe.name}" / "in.txt"] = recipe.source_text()
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
