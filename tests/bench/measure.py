"""Helpers of all benchmarks: measure times, print rows."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Answer = TypeVar("Answer")


def timed(*command: str, shell: str = "", cwd: Path | None = None) -> float:
    begun = time.perf_counter()
    subprocess.run(
        shell or command, shell=bool(shell), cwd=cwd, check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - begun


def row(name: str, value: float, other: float, bound: float) -> None:
    ratio = value / other
    print(f"{name:52} {value:8.3f} s {other:8.3f} s  ratio {ratio:5.2f}  (wanted: at most {bound})")


def in_child(function: Callable[[], Answer]) -> Answer:
    """Return the result of a function in a forked process, which keeps memory use separate."""
    sys.stdout.flush()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reader)
            with os.fdopen(writer, "wb") as stream:
                stream.write(pickle.dumps(function()))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        answer = stream.read()
    if os.waitpid(pid, 0)[1]:
        sys.exit("the benchmark's child failed")
    return pickle.loads(answer)  # type: ignore[no-any-return]
