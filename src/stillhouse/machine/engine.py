"""Accelerate, set up for a run: device, precision, trackers."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from accelerate.utils import DistributedType, InitProcessGroupKwargs, LoggerType

from stillhouse.config import EngineConfig
from stillhouse.errors import UserError, unknown_name
from stillhouse.machine.allocator import keep_freed_memory

# The others wait for the first process while it prepares a corpus or scores rows, which may take many hours; what starts the
# processes ends all of them when one dies.
PATIENCE = timedelta(days=7)


def has_bfloat16() -> bool:
    """Whether this machine multiplies bf16 matrices in hardware (AVX512-BF16, AMX, recent GPUs)."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def resolve_precision(precision: str) -> str:
    """`fp32` or `bf16`: what `auto` means on this machine."""
    if precision != "auto":
        return precision
    return "bf16" if has_bfloat16() else "fp32"


def is_first_process() -> bool:
    """Whether this process is the one that speaks and writes, known before there is an engine."""
    return os.environ.get("RANK", "0") == "0"  # which torchrun and `accelerate launch` set


def build_accelerator(config: EngineConfig, folder: Path | None = None) -> Accelerator:
    """The engine of a run.

    Args:
        config: Precision and trackers.
        folder: Where trackers that write files put them.

    Raises:
        UserError: A tracker is unknown or not installed, or accelerate is set up to shard models.
    """
    mixed_precision = "bf16" if resolve_precision(config.precision) == "bf16" else "no"
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != mixed_precision:
        # Accelerate keeps its state per process; a second run in the same process may want another precision.
        AcceleratorState._reset_state(reset_partial_state=False)
    check_trackers(config.trackers)
    accelerator = Accelerator(
        mixed_precision=mixed_precision,
        log_with=list(config.trackers) or None,
        project_dir=None if folder is None else str(folder),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise UserError(
            f"accelerate is set up for {accelerator.distributed_type.value}, which shards the model",
            expected="one process, or data parallelism: encoders and their teachers fit on one device",
            fix="run `accelerate config` again without it, or start plain `stillhouse`",
        )
    if accelerator.device.type == "cpu":
        keep_freed_memory()
    return accelerator


def check_trackers(trackers: Sequence[str]) -> None:
    """Whether experiment trackers can be used.

    Raises:
        UserError: One is unknown or not installed.
    """
    known = [str(kind.value) for kind in LoggerType if kind.value != "all"]
    for tracker in trackers:
        if tracker not in known:
            raise unknown_name("tracker", tracker, known)
    missing = set(trackers) - {str(getattr(kind, "value", kind)) for kind in get_available_trackers()}
    if missing:
        raise UserError(
            f"tracker {', '.join(sorted(missing))} is not installed",
            fix='pip install "stillhouse[track]" brings tensorboard; others have packages of their own names',
        )


def environment(accelerator: Accelerator) -> dict[str, Any]:
    """What a number was measured with."""
    device = torch.cuda.get_device_name(accelerator.device) if accelerator.device.type == "cuda" else "cpu"
    return {
        "stillhouse": version("stillhouse"),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "python": platform.python_version(),
        "device": device,
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count() or 0,
        "precision": "bf16" if accelerator.mixed_precision == "bf16" else "fp32",
    }


def _processor() -> str:
    """Its name, as far as the system tells it, and what of it torch uses."""
    name = platform.processor()
    with suppress(OSError, StopIteration):  # Linux
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line for line in lines if line.startswith("model name")).partition(":")[2].strip()
    capability = torch.backends.cpu.get_cpu_capability()
    own = f"{capability}, {'with' if torch.cpu._is_avx512_bf16_supported() else 'without'} AVX512-BF16"
    return f"{name}, {own}" if name else own
