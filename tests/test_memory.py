import subprocess
import sys

import pytest

from multirate.memory import _CHOSEN, keep_freed_memory

FAULTS = """
import resource, torch
from multirate.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.full((40 << 18,), 1.0)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20

torch.set_num_threads(1)
first, kept = faults(), keep_freed_memory()
faults()
print(first, kept, faults())
"""


@pytest.fixture
def environment(monkeypatch):
    for name in _CHOSEN:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.slow
def test_freed_memory_is_used_again_without_page_faults(environment):
    if not keep_freed_memory():
        pytest.skip("the allocator is not glibc's")
    said = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True).stdout.split()
    first, kept, then = float(said[0]), said[1], float(said[2])
    # 40 MiB are 20 huge pages or 10,240 small ones, each of which faults once an allocation.
    assert kept == "True"
    assert first >= 10
    assert then < first / 10


@pytest.mark.parametrize("name", _CHOSEN)
def test_settings_of_the_user_s_own_are_left_alone(environment, name):
    environment.setenv(name, "1")
    assert not keep_freed_memory()
