"""The command line on a machine with a GPU, for which fibers on the CPU stand in."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from host_cuda.host_device import HostDevice

from hpcdistill.gpu import cupy_device

_device = HostDevice(warps=(2, 2))
cupy_device.find_device = lambda: _device  # also in the processes that this one spawns

if __name__ == "__main__":
    from hpcdistill.__main__ import main

    sys.exit(main())
