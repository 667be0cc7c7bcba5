"""Free memory: of the node and of the job, and what is said where it is not enough."""

from pathlib import Path

import pytest

from hpcdistill.data import memory
from hpcdistill.errors import ConfigError


def test_this_machine_says_how_much_is_free():
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert 0 < memory.available_bytes() <= total


def test_the_limit_of_a_job_counts(tmp_path, monkeypatch):
    own = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2].lstrip("/")
    (tmp_path / own).mkdir(parents=True, exist_ok=True)
    for name, text in (("memory.max", "5000"), ("memory.current", "2000")):
        (tmp_path / own / name).write_text(text)
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    assert memory.available_bytes() == 3000
    (tmp_path / own / "memory.max").write_text("max")
    assert memory.available_bytes() > 3000


def test_what_does_not_fit_is_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"^It needs 1048576\.0 GiB, and \d+\.\d GiB are free\. Use less\.$"):
        memory.check_memory(2**50, "It", "Use less.")
    memory.check_memory(1, "It", "Use less.")
