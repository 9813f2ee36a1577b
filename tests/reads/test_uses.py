"""Tests of collected uses."""

from __future__ import annotations

from prov.reads.reads import Read, Reads
from prov.reads.uses import Trace


def test_uses_become_rows() -> None:
    trace = Trace()
    trace.add(b"/b\xff", "x", b"/bin/sh")
    trace.add(b"/b\xff", "o", b"/bin/cat")
    trace.add(b"/a", "m", b"")
    rows = (Read("/a", "m"), Read("/b\udcff", "ox", "", ("/bin/cat", "/bin/sh")))
    assert trace.reads() == Reads(rows, "complete", "complete")


def test_the_first_reason_stays() -> None:
    trace = Trace()
    trace.doubt("one")
    assert trace.reads().opens == "complete"
    trace.hide("two")
    trace.hide("three")
    assert (trace.reads().opens, trace.reads().probes) == ("incomplete: two", "incomplete: one")
