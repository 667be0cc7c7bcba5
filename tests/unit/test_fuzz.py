"""Some of what `python tests/unit/fuzz.py` does at length. In processes of their own: it forks, and JAX has threads."""

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).with_name("fuzz.py")
#: A check that finds nothing would pass: here the command that it runs has a fault.
FAULTY = f"""
import sys
sys.path.insert(0, {str(FUZZ.parent)!r})
import fuzz, hpcdistill.io.checkpoint
hpcdistill.io.checkpoint.read_checkpoint = lambda path: 1 / 0
print(fuzz.outcome(["inspect", "x.h5"], fuzz.Path(sys.argv[1])))
"""


@pytest.mark.slow
def test_damaged_files_end_in_one_line():
    done = subprocess.run([sys.executable, FUZZ, "24", "--seed", "1"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_goes_wrong_is_noticed(tmp_path):
    done = subprocess.run([sys.executable, "-c", FAULTY, tmp_path], capture_output=True, text=True, timeout=120)
    assert "ZeroDivisionError" in done.stdout, done.stderr
