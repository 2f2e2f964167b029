"""Where the time of a step of logit + hidden matching from the store goes, by torch's profiler.

    PYTHONPATH=benchmarks python benchmarks/contenders/step_profile.py WORKLOAD

An operation counts where it, or the outermost that called it, is named below; `dispatch` is what no operation accounts for:
Python, autograd's bookkeeping and the way to each operation. The profiler itself takes time, the more operations the more:
shares are those of a profiled step, beside which the same step's time without the profiler is given.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bare_stage import train_stage
from stillhouse_loop import load_model, load_split, matching_stage
from torch.profiler import ProfilerActivity, profile

from stillhouse.config import TeacherConfig
from stillhouse.teachers.source import Source
from stillhouse.training.trainer import StageResult, Trainer

KINDS = {
    "attention": ("_BlockAttention", "_BlockAttentionBackward"),
    "dropout": ("_Masked", "_MaskedBackward"),
    "embeddings": ("_LookedUp", "_LookedUpBackward"),
    "AdamW": ("Optimizer.step#AdamW.step", "aten::_fused_adamw_"),
    "gradient norm": ("aten::linalg_vector_norm", "aten::_foreach_norm"),
    "matrix products": ("aten::addmm", "aten::mm", "aten::bmm", "aten::_addmm_activation", "mkldnn::_linear_pointwise"),
    "casts and copies": ("aten::_to_copy", "aten::copy_", "aten::to", "ToCopyBackward0"),
}
BATCH = 32
KIND_OF = {name: kind for kind, names in KINDS.items() for name in names}


def main() -> None:
    """Profiles."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workload", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    split = load_split(options.workload)
    teacher = load_model(options.workload / "teacher")
    stage = matching_stage(options.workload, options.steps * BATCH / len(split))
    with tempfile.TemporaryDirectory() as store:
        source = Source(TeacherConfig(features="store", store=store))

        def train() -> StageResult:
            return train_stage(stage, load_model(options.workload / "student"), split, teacher=teacher, source=source)

        train()  # fills the store
        plain = train()
        with profiled_training() as profiler:
            seconds = train().seconds
    shares = {kind: value / seconds for kind, value in seconds_by_kind(profiler.events()).items()}
    shares["dispatch"] = 1 - sum(shares.values())
    found = {"step_ms": 1000 * plain.seconds / plain.steps, "profiled_step_ms": 1000 * seconds / plain.steps}
    print(json.dumps(found | {f"share of {kind}": share for kind, share in shares.items()}))


@contextmanager
def profiled_training() -> Iterator[profile]:
    """The training of stages inside the block is profiled, and nothing that is done before or after it."""
    train = Trainer._train
    profiler = profile(activities=[ProfilerActivity.CPU])

    def profiled(self: Trainer) -> StageResult:
        with profiler:
            return train(self)

    with patch.object(Trainer, "_train", profiled):
        yield profiler


def seconds_by_kind(events: Iterable[Any]) -> dict[str, float]:
    """Time of the operations themselves, each under the kind of the outermost above it that has one."""
    seconds = dict.fromkeys([*KINDS, "other operations"], 0.0)
    for event in events:
        kind, above = "other operations", event
        while above is not None:
            kind, above = KIND_OF.get(above.name, kind), above.cpu_parent
        seconds[kind] += event.self_cpu_time_total / 1e6
    return seconds


if __name__ == "__main__":
    main()
