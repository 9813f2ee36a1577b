"""Names, modes, symlink targets, attributes and facts that no record from elsewhere may have."""

from __future__ import annotations

from tests.remote.hostile import KEY

ZWNJ, BOM = "\u200c".encode(), "\ufeff".encode()
NAMES = [
    *(b"..", b".", b"", b"a/b", b"/", b"/etc", b"../../x", b"./x", b"a/", b"/tmp/canary"),
    *(b".git", b".GIT", b".Git", b".giT", b".git ", b".git.", b".git...", b".git\\x", b"a\\.git", b"..\\.git\\hooks"),
    *(b"git~1", b"GIT~1", b"GIT~2", b"gi7eba~1", b"GI7EBA~9", b"gi7d29~1", b"~1000000", b"g~100000", b".git::$DATA"),
    *(
        b".g" + ZWNJ + b"it",
        BOM + b".git",
        b".git" + ZWNJ,
        b".G\xe2\x80\x8dIT",
        b".\xe2\x80\xaegit",
        b".gi\xe2\x81\xaft",
    ),
    *(
        b".gitmodules",
        b".GITMODULES",
        b".gitattributes",
        b".gitignore",
        b".mailmap",
        b"gitmod~1",
        b"GITATT~1",
        b"maba30~1",
    ),
    *(b"%", b"%a", b"%abc", b"%..", b"%.", b"%./x", b"%a/b", b"%x\\y", b"%x\\%", b"%git", b"%.gi"),
    *(b"%2e%2e", b"%attribute", b"%attributes2", b"%ATTRIBUTES", b"x" * 256, b"x" * 5000, b"%.git" + b"x" * 252),
    *(b"a\nb/", b"a\0", b"\0"),
]
HARMLESS_NAMES = [b"\xff\xfe", b"a\nb", b"-rf", b"~", b"$(touch x)", b"a b", b"=", b"...", b"x" * 255, b"\x1b[2J"]
MODES = [b"160000", b"0", b"", b"100600", b"100664", b"100666", b"104755", b"040000", b"0100644", b"0120000", b"020666"]
MODES += [b"60660", b"10644", b"140777", b"777", b"1", b"37777777777", b"7" * 400, b"-100644", b"+100644", b"1_00644"]
MODES += [b"0o100644", b"100 644", b"10064x", b"\xff", b"120777", b"40755", b"170000", b"100745"]
TARGETS = [b"", b"a\0b", b"\0", b"x" * 4096, b"y/" * 4000]
OUTSIDE = [b"/etc", b"/", b"..", b"../../..", b"/proc/self/root", b".", b"qqq/../../.."]
NINES = b"9" * 400
LINES = [
    *(
        b"fff\tmode=",
        b"fff\tmode=8",
        b"fff\tmode=-1",
        b"fff\tmode=0777777",
        b"fff\tmode=1" + b"0" * 500,
        b"fff\tmode=x",
    ),
    *(b"fff\tmode=0o755", b"fff\tmode= 755", b"fff\tmode=0644", b"fff\tmode=0100644", b"fff\tmode=4_755"),
    *(
        b"fff\ttype=",
        b"fff\ttype=disk",
        b"fff\ttype=\xff",
        b"fff\ttype=regular",
        b"nnn\tmode=0755",
        b"nnn\ttype=folder",
    ),
    *(
        b"nnn\ttype=char",
        b"nnn\ttype=char rdev=1:3",
        b"nnn\ttype=block rdev=8:0",
        b"nnn\ttype=block rdev=8:0 mode=0666",
    ),
    *(b"fff\ttype=char rdev=1:3", b"fff\ttype=fifo", b"lll\ttype=fifo", b"ddd\ttype=char rdev=1:5", b"fff\trdev=1:3"),
    *(
        b"nnn\ttype=char rdev=",
        b"nnn\ttype=fifo rdev=1",
        b"nnn\ttype=fifo rdev=1:3",
        b"nnn\ttype=fifo rdev=-1:" + NINES,
    ),
    *(b"nnn\ttype=fifo rdev=" + NINES + b":0", b"nnn\ttype=socket rdev=99999999999:1"),
    *(
        b"fff\tlink=/etc/passwd",
        b"fff\tlink=../x",
        b"fff\tlink=a//b",
        b"fff\tlink=.",
        b"fff\tlink=a/../../b",
        b"fff\tlink=",
    ),
    *(
        b"fff\tmtime=",
        b"fff\tmtime=x",
        b"fff\tmtime=1",
        b"fff\tmtime=1.",
        b"fff\tmtime=1.5",
        b"fff\tmtime=" + NINES + b".000000000",
    ),
    *(b"fff\tmtime=-" + NINES + b".000000000", b"fff\tmtime=99999999999999999.000000000", b"fff\tmtime=1.9999999999"),
    *(b".\tmtime=99999999999999999.000000000", b"fff\tmtime= 1.000000000", b"fff\tmtime=1.-00000001"),
    *(
        b"fff\tfixme=all",
        b"fff\tfixme=text:X",
        b"fff\tfixme=",
        b"fff\tfixme=held:S text",
        b"fff\tfixme=binary:" + b"S" * 9 + b"x",
    ),
    *(b"fff\txattr.=", b"fff\txattr.security.capability=AAAA", b"fff\txattr.trusted.overlay.opaque=eQ=="),
    *(
        b"fff\txattr.system.posix_acl_access=AAAA",
        b"fff\txattr.user.a=?",
        b"fff\txattr.user.a\0b=AAAA",
        b"fff\txattr.user.a=AA",
    ),
    *(b"fff\txattr.user." + b"n" * 300 + b"=AAAA", b"fff\txattr.user.big=" + b"QUFB" * 30000, b"fff\txattr.user.=AAAA"),
    *(
        b"..\tmode=0755",
        b"../x\ttype=fifo",
        b"a/b\ttype=fifo",
        b"\ttype=fifo",
        b"\tmode=0755",
        b"/tmp/canary\ttype=fifo",
    ),
    *(b"a\0b\ttype=fifo", b"x" * 256 + b"\ttype=fifo", b".\ttype=fifo", b".\ttype=char rdev=1:3", b".\tlink=fff"),
    *(
        b".\tfixme=text:S",
        b"fff",
        b"fff\t",
        b"\t",
        b"",
        b"fff mode=0755",
        b"fff\tcolour=red",
        b"fff\t mode=0755",
        b"ddd\tmode=0700",
    ),
    *(b"\xff\xfe\x00", b"fff\tmode=4755\tlink=a", b"fff\tmode=4755 mode=0755", b"f\\ff\tmode=0700", b"fff\tmode=4755 "),
    *(b"lll\tmode=4755", b"nnn\ttype=fifo mtime=1", b"\\nn\tmode=0700", b"ddd\tlink=x", b"ddd\tmtime=1.000000000"),
]
FACTS = [
    *("", "\n", "task", f"task {KEY}", "task-hash {inputs}\nresult ok\n", f"task {KEY}\nresult ok\n"),
    *(f"task {KEY}\ntask-hash {{inputs}}\n", f"task {KEY}\ntask-hash {{inputs}}\nresult failed\n"),
    *("task words:other\ntask-hash {inputs}\nresult ok\n", f"task {KEY}\ntask-hash {'0' * 40}\nresult ok\n"),
    *(f" task {KEY}\ntask-hash {{inputs}}\nresult ok\n", f"task {KEY} \ntask-hash {{inputs}}\nresult ok\n"),
    *(
        f"task {KEY}\r\ntask-hash {{inputs}}\r\nresult ok\r\n",
        "\xff\xfe\0",
        f"task\t{KEY}\ntask-hash {{inputs}}\nresult ok\n",
    ),
    *(f"task {KEY}\ntask-hash {{inputs}}\nresult ok\ntask words:other\n", f"{'x' * 9999}\n" * 20),
]
