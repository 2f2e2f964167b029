"""Fails where a report of coverage in JSON has fewer lines or branches than agreed."""

import json
import sys
from pathlib import Path

FLOORS = {"lines": 95.0, "branches": 90.0}


def main(path):
    totals = json.loads(Path(path).read_text(encoding="utf-8"))["totals"]
    found = {
        "lines": 100 * totals["covered_lines"] / totals["num_statements"],
        "branches": 100 * totals["covered_branches"] / totals["num_branches"],
    }
    for name, share in found.items():
        print(f"{name}: {share:.1f} %, at least {FLOORS[name]:.0f} % are agreed")
    return any(share < FLOORS[name] for name, share in found.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
