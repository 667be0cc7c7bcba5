"""Backend `native`: bounded memory, Ctrl-C, and several Python threads at once."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from native_support import BACKEND, Network, random_cotangent

pytestmark = pytest.mark.slow
MIB = 2**20
THREADS = 2
#: What one call may take besides its result: per thread, and once (stacks, the allocator's slack).
PER_THREAD, SLACK = 64 * MIB, 16 * MIB
#: From Ctrl-C to the exception. Far above what it takes: a machine may be busy.
SECONDS_TO_STOP = 120

SET_UP = f"""
import sys
import numpy as np
from hpcdistill.architecture import parse_architecture
from hpcdistill.kernels.select import choose_backend

def prepared(text, shape, n1, n2, dtype):
    global backend
    backend = choose_backend(parse_architecture(text), shape, dtype, {BACKEND!r})
    rng = np.random.default_rng(0)
    h1, h2 = (backend.prepare(rng.normal(size=(n, *shape)).astype(dtype)) for n in (n1, n2))
    return h1, h2, rng.normal(size=(n1, n2)).astype(dtype)
"""

# Linux's own record of the largest resident memory, set back just before the call: getrusage's starts with what the
# process had been forked from.
MEASURE = """
def status(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))

def growth(call):
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = status("VmRSS")
    result = call()
    return status("VmHWM") - before - result.nbytes
"""

LONG_CALLS = {
    "block": ("'Myrtle-10', (32, 32, 3), 40, 400, 'float32'", "backend.block(h1, h2)"),
    "self-block": ("'Myrtle-10', (32, 32, 3), 200, 1, 'float32'", "backend.block(h1, h1)"),
    "vjp": ("'Myrtle-5', (32, 32, 3), 4, 2000, 'float32'", "backend.block_vjp(h1, h2, c)"),
    # A ReLU behind gap needs variances of all offsets.
    "prepare": (
        f"{'conv relu ' * 6 + 'gap dense relu dense'!r}, (32, 32, 3), 1, 1, 'float64'",
        "backend.prepare(np.ones((2000, 32, 32, 3)))",
    ),
}


def start(program):
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    command = [sys.executable, "-c", program]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def growth(arguments, call):
    """Return by how many bytes a call in a process of its own makes it grow, less the result."""
    process = start(f"{SET_UP}{MEASURE}\nh1, h2, c = prepared({arguments})\nprint(growth(lambda: {call}))")
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    return int(out)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="no record of the peak to set back")
@pytest.mark.parametrize(
    "arguments",
    [
        "'ConvNet', (32, 32, 3), 16, 200, 'float32'",
        "'ConvNet', (32, 32, 3), 3, 100, 'float64'",
        "'Myrtle-5', (32, 32, 3), 1, 16, 'float32'",
        "'Myrtle-5', (32, 32, 3), 1, 16, 'float64'",
        "'conv relu flatten dense', (4, 4, 1), 1500, 2015, 'float32'",
    ],
)
@pytest.mark.parametrize("call", ["backend.block(h1, h2)", "backend.block_vjp(h1, h2, c)"])
def test_temporary_memory_is_bounded(arguments, call):
    grown = growth(arguments, call)
    assert grown <= THREADS * PER_THREAD + SLACK, f"{grown / MIB:.0f} MiB"


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="no record of the peak to set back")
def test_temporary_memory_of_a_large_self_block_is_bounded():
    grown = growth("'conv relu flatten dense', (4, 4, 1), 5000, 1, 'float32'", "backend.block(h1, h1)")
    assert grown <= THREADS * PER_THREAD + SLACK, f"{grown / MIB:.0f} MiB"


def interrupt(program):
    """Send Ctrl-C to a program a moment after it says that it has started; return its status, output and errors."""
    process = start(program)
    try:
        assert process.stdout.readline() == "started\n"
        time.sleep(0.7)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=SECONDS_TO_STOP)
    finally:
        process.kill()
    return process.returncode, out, errors


@pytest.mark.parametrize("name", LONG_CALLS)
def test_ctrl_c_ends_a_long_call(name):
    arguments, call = LONG_CALLS[name]
    set_up = f"{SET_UP}\nh1, h2, c = prepared({arguments})\nprint('started', flush=True)"
    status, out, errors = interrupt(f"{set_up}\n{call}\nprint('done')")
    assert "done" not in out
    assert status == -signal.SIGINT, errors
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_the_backend_serves_on_after_ctrl_c():
    arguments, call = LONG_CALLS["block"]
    after = "np.array_equal(backend.block(h1[:2], h2[:3]), backend.block(h1[:2], h2[:20])[:, :3])"
    status, out, errors = interrupt(f"""{SET_UP}
h1, h2, c = prepared({arguments})
print('started', flush=True)
try:
    {call}
except KeyboardInterrupt:
    print({after}, flush=True)
""")
    assert (out, status) == ("True\n", 0), errors


def test_python_goes_on_while_a_block_is_computed():
    network = Network("ConvNet", (32, 32, 3))
    backend = network.backend("float32")
    handle = backend.prepare(network.images(40, 1))
    ticks, ended = [], threading.Event()

    def tick():
        while not ended.wait(0.005):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    began = time.monotonic()
    backend.block(handle, handle)
    took = time.monotonic() - began
    ended.set()
    thread.join()
    assert len(ticks) >= took / 0.2


@pytest.mark.parametrize("threads", [1, 2])
def test_python_threads_may_share_a_backend(threads):
    network = Network("conv relu conv relu pool conv relu flatten dense", (10, 9, 2))
    backend = network.backend("float64")
    backend.threads = threads
    h1, h2 = (backend.prepare(network.images(n, n)) for n in (20, 50))
    cotangent = random_cotangent(20, 50)

    def all_calls():
        return [backend.block(h1, h2), backend.block(h2, h2), backend.block_vjp(h1, h2, cotangent)]

    alone, together = all_calls(), []
    workers = [threading.Thread(target=lambda: together.append(all_calls())) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(together) == 3
    for results in together:
        for one, other in zip(alone, results, strict=True):
            np.testing.assert_array_equal(other, one)
