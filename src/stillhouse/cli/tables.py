"""Scores as plain text, for the terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stillhouse.teachers.kept import KeptStore


def scores_table(result: Mapping[str, Any]) -> str:
    """What `stillhouse evaluate` prints."""
    lines = [f"{result['data']}: {result['task']}, {result['rows']:,} rows", *(f"  {note}" for note in result["notes"])]
    for role in ("student", "teacher"):
        entry = result.get(role)
        if entry is None:
            continue
        low, high = entry["interval"]
        lines.append(f"\n{entry['name']}" + (" (teacher)" if role == "teacher" else ""))
        for name, value in entry["scores"].items():
            spread = f"   95 % interval {low:.4f} to {high:.4f}" if name == result["metric"] else ""
            lines.append(f"  {name:<18}{value:.4f}{spread}")
        if entry["ece"] is not None:
            lines.append(f"  {'calibration error':<18}{entry['ece']:.4f}")
    if "agreement" in result:
        lines.append(f"\nagreement with the teacher {result['agreement']:.4f}")
        if result["kl"] is not None:
            lines.append(f"mean KL to the teacher     {result['kl']:.4f} nats")
    return "\n".join(lines)


def stores_table(root: Path, stores: Sequence[KeptStore]) -> str:
    """What `stillhouse store ls` prints."""
    lines = [f"{root}: {sum(store.size for store in stores) / 2**20:,.0f} MiB"]
    for store in stores:
        day = time.strftime("%Y-%m-%d", time.localtime(store.used))
        lines.append(
            f"  {store.folder.name[:8]}  {store.size / 2**20:>9,.0f} MiB  {store.rows:>9,} rows  {day}  {store.precision}  "
            f"{store.teacher}: {', '.join(store.columns)}"
        )
    return "\n".join(lines)
