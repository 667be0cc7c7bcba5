"""Free memory: of the node and of the job, and what is said where it is not enough."""

from pathlib import Path

import pytest

from hpcdistill.data import memory
from hpcdistill.errors import ConfigError


def test_this_machine_says_how_much_is_free():
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert 0 < memory.available_bytes() <= total


VERSIONS = {
    "2": ("0::/slurm/job_7", "slurm/job_7", "memory.max", "memory.current", "max"),
    "1": ("11:cpuset:/a\n9:cpu,memory:/slurm/job_7\n1:name=systemd:/b\n0::/c", "memory/slurm/job_7",
          "memory.limit_in_bytes", "memory.usage_in_bytes", str(2**63 - 4096)),
}  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_the_limit_of_a_job_counts(tmp_path, monkeypatch, version):
    """Of cgroups of either version, as the kernel's documentation has them."""
    lines, folder, limit_file, used_file, none = VERSIONS[version]
    (tmp_path / "own").write_text(lines + "\n")
    monkeypatch.setattr(memory, "_OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    job, most = tmp_path / folder, "5000"
    for above, limit in ((job, most), (job.parent, none)):
        above.mkdir(parents=True, exist_ok=True)
        (above / limit_file).write_text(limit)
        (above / used_file).write_text("2000")
    assert memory.available_bytes() == 3000
    (job / limit_file).write_text(none)
    assert memory.available_bytes() > 3000


def test_what_does_not_fit_is_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"^It needs 1048576\.0 GiB, and \d+\.\d GiB are free\. Use less\.$"):
        memory.check_memory(2**50, "It", "Use less.")
    memory.check_memory(1, "It", "Use less.")
