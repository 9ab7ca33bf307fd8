"""Count the skipped tests of a JUnit report; with ``--allow``, fail on any other reason.

A reason's kind is the text before its first colon: ``gpu: no CUDA device`` is of kind ``gpu``.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree


def skips(report: Path) -> list[tuple[str, str]]:
    """List ``(test, reason)`` of every test that was skipped or expected to fail."""
    found = []
    for case in ElementTree.parse(report).iter("testcase"):
        for skipped in case.iter("skipped"):
            name = f"{case.get('classname')}::{case.get('name')}"
            found.append((name, skipped.get("message") or "no reason given"))
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="JUnit XML written by pytest --junitxml")
    parser.add_argument("--allow", nargs="+", metavar="KIND", help="fail on a skip of any other kind")
    options = parser.parse_args(arguments)
    if not options.report.is_file():
        print(f"{options.report}: no such report; the tests did not run.", file=sys.stderr)
        return 1
    found = skips(options.report)
    kinds = Counter(reason.split(":")[0] for _, reason in found)
    print(f"skipped: {len(found)}", *(f"  {count} x {kind}" for kind, count in sorted(kinds.items())), sep="\n")
    refused = [item for item in found if options.allow and item[1].split(":")[0] not in options.allow]
    for name, reason in refused:
        print(f"not allowed to skip: {name} ({reason})", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
