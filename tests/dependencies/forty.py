"""A recipe that declares 40 packages and uses 12 of them, each in a different way.

It also includes a header of a package that only a run-time dependency brings, and looks for one of
a package that it does not declare.
"""

from __future__ import annotations

TOOLS = "hosttools = ['gcc', 'ld', 'as', 'ar', 'ln', 'chmod']\n"


def _package(script: str) -> str:
    folders = "mkdir -p image/usr/lib image/usr/include"
    return (
        "version = '1'\nbuild = ['stage']\n[tasks.stage]\noutputdir = 'image'\n"
        f"{TOOLS}script = '''\nset -e\n{folders}\n{script}\n'''\n"
    )


UNUSED = tuple(f"unused{number:02}" for number in range(28))
USED = {
    "header": _package("echo '#define HEADER 1' > image/usr/include/header.h"),
    "linked": _package(
        "echo 'int linked(void) { return 0; }' > l.c; gcc -c l.c;"
        " ar rc image/usr/lib/liblinked.a l.o"
    ),
    "plugin": _package(
        "echo 'int plugin = 7;' > p.c; gcc -shared -fPIC -o image/usr/lib/plugin.so p.c",
    ),
    "program": _package(
        "mkdir image/usr/bin; printf '#!/bin/sh\\necho run\\n' > image/usr/bin/program;"
        " chmod 755 image/usr/bin/program"
    ),
    "static": _package(
        "mkdir image/usr/bin; echo 'int main(void) { return 0; }' > s.c;"
        " gcc -static -o image/usr/bin/static s.c",
    ),
    "pcfile": _package(
        "mkdir image/usr/lib/pkgconfig; echo 'Name: pcfile' > image/usr/lib/pkgconfig/pcfile.pc"
    ),
    "mark": _package("mkdir -p image/usr/share/mark; echo > image/usr/share/mark/present"),
    "folder": _package("mkdir -p image/usr/share/folder; echo > image/usr/share/folder/file"),
    "link": _package("ln -s real image/usr/lib/alias"),
    "real": _package("mkdir image/usr/lib/real; echo data > image/usr/lib/real/data"),
    "absolute": _package(
        "mkdir image/usr/share; ln -s /build/sysroot/usr/share/target image/usr/share/absolute"
    ),
    "target": _package("mkdir image/usr/share; echo target > image/usr/share/target"),
}
INVISIBLE = {"mark", "folder", "link", "absolute"}
"""The packages used without an opened file: by `stat`, or as a link on the way."""
MAIN = """#include <header.h>
#include <brought.h>
#if __has_include(<floating.h>)
#include <floating.h>
#endif
#include <dlfcn.h>
int linked(void);
int main(int count, char **words) { return linked() || !dlopen(words[1], RTLD_NOW); }
"""
SCRIPT = """set -e
ROOT=${RECIPE_SYSROOT}/usr
cat > main.c <<'END'
%s
END
gcc -I$ROOT/include -o main main.c -L$ROOT/lib -llinked
./main $ROOT/lib/plugin.so
$ROOT/bin/program
$ROOT/bin/static
cat $ROOT/lib/pkgconfig/pcfile.pc
test -e ${WORKDIR}/recipe-sysroot/usr/share/mark/present
test -d $ROOT/share/folder
cat $ROOT/lib/alias/data $ROOT/share/absolute
echo > result
"""


def recipes() -> dict[str, str]:
    """Return the recipes by file name; `app:link` has all packages in its sysroot."""
    own = {
        f"{name}.toml": _package(
            f"echo > image/usr/include/{name}.h; echo > image/usr/lib/lib{name}.a"
        )
        for name in (*UNUSED, "brought", "floating")
    }
    own |= {f"{name}.toml": text for name, text in USED.items()}
    own["header.toml"] = f"rdepends = ['brought']\n{own['header.toml']}"
    names = ", ".join(f"'{name}'" for name in sorted([*UNUSED, *USED]))
    own["app.toml"] = (
        f"version = '1'\nbuild = ['collect']\ndepends = [{names}]\n[tasks.link]\n"
        f"needs = ['@depends:stage']\n{TOOLS}script = '''{SCRIPT % MAIN}'''\n"
        "[tasks.collect]\nafter = ['link']\noutputdir = 'image'\nscript = 'cp result image'\n"
    )
    return own
