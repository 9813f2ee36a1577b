"""Puts a recipe's sources under sources/: what is local is there already, the rest is fetched and checked.

SOURCES is a JSON list of {name, url, sha256, git, commit, unpack, submodules}. Nothing is kept that is not what was asked for.
"""

import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

PATIENCE = 60  # seconds
LEAST = 1000  # bytes a second
RESERVE = 256 << 20  # bytes that stay free on the disk


def checked(path, sha256, origin):
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    if digest.hexdigest() != sha256:
        os.unlink(path)
        sys.exit(
            f"{origin}: sha256 is {digest.hexdigest()}, the recipe says {sha256}; if upstream's file is the right one, correct the recipe"
        )


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows few redirects, to http and https alone, and never from https to http."""

    max_redirections = 5

    def redirect_request(self, request, answer, code, message, headers, url):
        answer.close()  # what it says does not matter, and may have no end
        old, new = (urllib.parse.urlsplit(each).scheme for each in (request.full_url, url))
        if new not in ("http", "https") or (old == "https" and new == "http"):
            raise urllib.error.URLError(f"it redirects from {old} to {new}, which is refused")
        return super().redirect_request(request, answer, code, message, headers, url)


def opener():
    """Return what opens http, https and file URLs, and no others."""
    made = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.FileHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        Redirects(),
    ):
        made.add_handler(handler)
    return made


def copy(answer, path):
    """Write an answer to a file, as long as it comes at a bearable speed and the disk has room."""
    begun, size = time.monotonic(), 0
    with open(path, "wb") as stream:
        while chunk := answer.read1(1 << 20) if hasattr(answer, "read1") else answer.read(1 << 20):
            stream.write(chunk)
            size += len(chunk)
            seconds = time.monotonic() - begun
            if seconds > PATIENCE and size < LEAST * seconds:
                raise OSError(f"{size} bytes came in {seconds:.0f} s; given up")
            if size > 16 << 20 and shutil.disk_usage(os.path.dirname(path) or ".").free < RESERVE:
                raise OSError(f"{size >> 20} MB came, and the disk has less than {RESERVE >> 20} MB of room left")
    if getattr(answer, "length", None):
        raise OSError(f"it ends after {size} bytes")


def fetch_url(source, path):
    try:
        with opener().open(source["url"], timeout=PATIENCE) as answer:
            copy(answer, path)
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"{source['url']}: can't be fetched: {error}; is the network there, and the address right?")
    checked(path, source["sha256"], source["url"])


def git(*arguments, check=""):
    """Run git; with `check`, what is fetched from where, a failure ends the task with git's own words."""
    command = ["git", "-c", "protocol.ext.allow=never", "-c", "advice.detachedHead=false", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode and check:
        words = " / ".join(line.strip() for line in done.stderr.splitlines() if line.strip())
        sys.exit(f"{check}: git: {words or f'exit status {done.returncode}'}")
    return done


def fetch_git(source, path):
    commit, origin = source["commit"], source["git"]
    git("init", "--quiet", path, check=origin)
    exact = git("-C", path, "fetch", "--quiet", "--depth=1", "--", origin, commit)
    if exact.returncode:
        # a server may refuse to serve a commit by its id: then all of it
        git("-C", path, "fetch", "--quiet", "--tags", "--", origin, "+refs/heads/*:refs/fetched/*", check=origin)
    git("-C", path, "checkout", "--quiet", "--detach", commit, check=origin)
    fetch_submodules(source, path)
    # the work tree is the source; what git keeps beside it differs from fetch to fetch
    for folder, folders, files in os.walk(path):
        if ".git" in folders and folder == path:
            shutil.rmtree(os.path.join(folder, ".git"))
            folders.remove(".git")
        elif ".git" in files and source["submodules"]:
            os.unlink(os.path.join(folder, ".git"))


def fetch_submodules(source, path):
    """Fetch a source's submodules, or refuse it: their folders would be empty, and nothing would say so."""
    listing = git("-C", path, "ls-tree", "-r", "-z", source["commit"], check=source["git"]).stdout
    names = [entry.partition("\t")[2] for entry in listing.split("\0") if entry.startswith("160000 ")]
    if not names or source["submodules"] is False:
        return
    if source["submodules"] is None:
        sys.exit(
            f"{source['git']}: has submodules ({', '.join(names[:5])}); add submodules = true to this source to fetch "
            "them, or submodules = false to leave their folders empty"
        )
    allow = ["-c", "protocol.file.allow=always"] if source["git"].startswith(("/", "file://")) else []
    git(*allow, "-C", path, "remote", "add", "origin", source["git"], check=source["git"])
    git(*allow, "-C", path, "submodule", "--quiet", "update", "--init", "--recursive", check=source["git"])


os.makedirs("sources", exist_ok=True)
for source in json.loads(os.environ["SOURCES"]):
    path = os.path.join("sources", source["name"])
    if source["url"]:
        fetch_url(source, path)
    elif source["git"]:
        fetch_git(source, path)
    elif source["sha256"]:
        checked(path, source["sha256"], source["name"])
    if not source["unpack"]:
        open(path + ".prov-keep", "w").close()
