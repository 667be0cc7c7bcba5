"""ScaLAPACK's BLAS uses what the CPU has, also where OpenBLAS does not know its model."""

import ctypes
import os
from pathlib import Path

import pytest

from hpcdistill.kernels.native import supported_targets
from hpcdistill.linalg import scalapack


def loaded_openblas():
    """The OpenBLAS that ScaLAPACK is linked with, not those that come with NumPy and SciPy."""
    names = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "openblas" in line}
    return next((ctypes.CDLL(name) for name in sorted(names) if "site-packages" not in name), None)


def test_the_widest_instructions_are_used():
    assert scalapack
    library = loaded_openblas()
    if library is None or "avx2" not in supported_targets():
        pytest.skip("no OpenBLAS of the system, or a CPU without AVX2")
    library.openblas_get_corename.restype = ctypes.c_char_p
    assert library.openblas_get_corename().decode().upper() not in {"PRESCOTT", "GENERIC", "CORE2", "NEHALEM"}
    assert "OPENBLAS_CORETYPE" not in os.environ
