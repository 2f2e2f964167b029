"""The engine, as it sets up the process."""

import os
import platform
import subprocess
import sys

import pytest
from tests.processes import rank_environments

FREED = """
import os, torch
from stillhouse.machine.memory import forget_peak_memory, peak_memory_mib
from stillhouse.config import EngineConfig
from stillhouse.machine.engine import build_accelerator

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

build_accelerator(EngineConfig(precision="fp32"))
before = resident()
large = [torch.ones(2**22) for _ in range(8)]  # 16 MiB each
full = resident()
del large
freed = resident()
forget_peak_memory()
print(before, full, freed, peak_memory_mib())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another system's memory")
@pytest.mark.parametrize(
    ("given", "keeps"),
    [
        ({}, True),
        ({"MALLOC_ARENA_MAX": "2"}, True),  # says nothing about it
        ({"MALLOC_MMAP_THRESHOLD_": "131072"}, False),
        ({"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"}, False),
    ],
)
def test_freed_memory_is_kept_unless_somebody_has_said_how_and_is_nobodys_peak(given, keeps):
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    found = subprocess.run([sys.executable, "-c", FREED], env=own | given, check=True, capture_output=True, text=True)
    before, full, freed, peak = map(float, found.stdout.split())
    assert full > before + 100
    assert (freed > before + 100) is keeps
    assert peak < before + 50  # of what comes after


WAITING = """
import torch
from stillhouse.config import EngineConfig
from stillhouse.machine.engine import build_accelerator

build_accelerator(EngineConfig(precision="fp32"))
group = torch.distributed.distributed_c10d._get_default_group()
print(group._get_backend(torch.device("cpu")).options._timeout.days)
torch.distributed.destroy_process_group()
"""


def test_processes_wait_for_the_first_as_long_as_it_prepares_a_corpus():
    given = [os.environ | one | {"OMP_NUM_THREADS": "1"} for one in rank_environments(2)]
    options = {"stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([sys.executable, "-c", WAITING], env=one, **options) for one in given]
    assert [int(process.communicate(timeout=300)[0]) > 1 for process in started] == [True, True]
