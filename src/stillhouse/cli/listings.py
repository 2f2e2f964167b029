"""Scores as plain text, for the terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stillhouse.teachers.kept import KeptFolder, KeptStore


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
    """What `stillhouse store ls` prints of features."""
    lines = [_heading(root, stores)]
    for store in stores:
        rows = f"{store.rows:>9,} rows  {_day(store.used)}  {store.precision}"
        lines.append(f"{_beginning(store)}  {rows}  {store.teacher}: {', '.join(store.columns)}")
    return "\n".join(lines)


def folders_table(root: Path, kept: Sequence[KeptFolder]) -> str:
    """What `stillhouse store ls` prints of models, and of corpora."""
    lines = [f"{_beginning(one)}  {_day(one.used)}  {one.about}" for one in kept]
    return "\n".join([_heading(root, kept), *lines])


def _heading(root: Path, kept: Sequence[KeptStore | KeptFolder]) -> str:
    return f"{root}: {sum(one.size for one in kept) / 2**20:,.0f} MiB"


def _beginning(one: KeptStore | KeptFolder) -> str:
    return f"  {one.folder.name[:8]}  {one.size / 2**20:>9,.0f} MiB"


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))
