"""The measuring process of `bench kernels`: a fresh one for each number of threads.

Neither NumPy nor JAX may be there before `measure` has restricted the process, since both size their thread pools once.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from hpcdistill.bench.cases import Case, KernelRequest
from hpcdistill.bench.peer import let_jax_use_the_gpu, peers_of

if TYPE_CHECKING:
    from hpcdistill.bench.rows import Measured
    from hpcdistill.kernels.base import KernelBackend

#: A support of ten images; columns of the block that a round's length is estimated from.
ROWS, COLUMNS = 10, 16
#: Columns that a run evaluates at a time, and no more here.
MOST_COLUMNS = 2048
#: Side of the first and of the largest block of neural-tangents.
PEER_SIDE, MOST_PEER_SIDE = 2, 128
MATMUL_SIZE = 2048
#: They would take precedence over OMP_NUM_THREADS.
_OTHER_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")


def measure(request: KernelRequest, threads: int) -> dict[str, Any]:
    """Restrict this process to `threads` cores and measure what is requested. Not collective.

    Returns:
        `rows` as in `rows.kernel_rows`; `rounds`: the seconds of each round and its pairs; `matmul_gflops`: by dtype.

    Raises:
        ConfigError, EnvironmentSetupError: a backend that cannot serve a case, before anything is measured.
    """
    _restrict(threads)
    if request.backend == "cuda":
        let_jax_use_the_gpu()
    import numpy as np

    from hpcdistill.architecture import parse_architecture
    from hpcdistill.bench.machine import now
    from hpcdistill.bench.rows import kernel_rows
    from hpcdistill.kernels.select import choose_backend

    def backend(case: Case, dtype: str, name: str) -> KernelBackend:
        chosen = choose_backend(parse_architecture(case.architecture), case.shape, np.dtype(dtype), name)
        if getattr(chosen, "threads", threads) != threads:
            raise RuntimeError(f"backend {chosen.name} uses {chosen.threads} threads, not {threads}")  # type: ignore[attr-defined]
        return chosen

    ours = {case: [backend(case, dtype, request.backend) for dtype in request.dtypes] for case in request.cases}
    peers = {case: peers_of(case) if request.with_peer else [] for case in request.cases}
    _say(threads, f"matrix products of {MATMUL_SIZE}×{MATMUL_SIZE}")
    matmul = {dtype: _matmul_gflops(dtype, request.rounds) for dtype in request.dtypes}
    rows: list[dict[str, Any]] = []
    rounds: list[dict[str, Any]] = []
    for case in request.cases:
        for operation in request.operations:
            _say(threads, f"{case.architecture} {case.shape_text} {operation}")
            measured, beside = _measure_case(request, case, operation, ours[case], peers[case])
            rows += kernel_rows(case, operation, threads, measured, beside, now())
            rounds += [
                {"backend": m.backend, "architecture": case.architecture, "shape": case.shape_text, "dtype": m.dtype,
                 "operation": operation, "threads": threads, "pairs": list(m.pairs), "seconds": m.seconds}
                for m in [*measured, *beside]
            ]  # fmt: skip
            for m in [*measured, *beside]:
                pairs = f"{m.pairs[0]}×{m.pairs[1]} pairs in {median(m.seconds):.2f} s"
                _say(threads, f"  {m.backend} {m.dtype}: {m.seconds_per_entry * 1e3:.4g} ms/entry ({pairs})")
    return {"rows": rows, "rounds": rounds, "matmul_gflops": matmul}


def _restrict(threads: int) -> None:
    """Leave this process `threads` cores and tell the libraries that it has yet to load."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupt ends it without a traceback; the parent tells
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ["OMP_NUM_THREADS"] = str(threads)
    for name in _OTHER_THREAD_VARIABLES:
        os.environ.pop(name, None)


def _measure_case(
    request: KernelRequest, case: Case, operation: str, ours: list[KernelBackend], peers: list[KernelBackend]
) -> tuple[list[Measured], list[Measured]]:
    """Return what all backends took, round by round in turn. A peer computes in float64 whatever the dtype."""
    from hpcdistill.bench.machine import device_of
    from hpcdistill.bench.rows import Measured
    from hpcdistill.bench.timing import seconds_of, take_turns

    with_vjp = operation == "forward+vjp"
    backends = [*ours, *peers]
    shapes = [request.pairs or _fill_round(b, case, with_vjp, request.seconds) for b in ours]
    shapes += [_fill_peer_round(peer, case, with_vjp, request.seconds) for peer in peers]
    calls = [block_call(b, case, *shape, with_vjp=with_vjp) for b, shape in zip(backends, shapes, strict=True)]
    for call in calls:
        call()
    samples = take_turns(
        [partial(seconds_of, call, b.device) for b, call in zip(backends, calls, strict=True)], request.rounds
    )
    measured = [
        Measured(b.name, str(b.dtype), shape, seconds, device_of(b))
        for b, shape, seconds in zip(backends, shapes, samples, strict=True)
    ]
    return measured[: len(ours)], measured[len(ours) :]


def block_call(
    backend: KernelBackend, case: Case, rows: int, columns: int, *, with_vjp: bool
) -> Callable[[], tuple[Any, ...]]:
    """Return a function that does to a block what a KIP step does: prepare both sets, block, or a sweep if wanted.

    Preparing is part of it: what a backend computes once per image, others compute with each tile. Not collective.
    """
    import numpy as np

    from hpcdistill.bench.images import natural_images

    x1, x2 = (natural_images(n, case.shape, seed).astype(backend.dtype) for seed, n in enumerate((rows, columns)))
    cotangent = np.random.default_rng(2).standard_normal((rows, columns)).astype(backend.dtype)

    def call() -> tuple[Any, ...]:
        h1, h2 = backend.prepare(x1), backend.prepare(x2)
        if not with_vjp:
            return (backend.block(h1, h2),)
        sweep, blocks = backend.sweep(h1), []
        for start in range(0, columns, sweep.at_once):
            part = slice(start, min(start + sweep.at_once, columns))
            blocks.append(sweep.block(h2[part]))
            sweep.add(cotangent[:, part])
        return (*blocks, sweep.finish())

    return call


def _fill_round(backend: KernelBackend, case: Case, with_vjp: bool, seconds: float) -> tuple[int, int]:
    """Return rows and columns of a block that takes about `seconds`, from the time of a small one."""
    small = _seconds_once_warm(backend, case, ROWS, COLUMNS, with_vjp)
    return ROWS, min(MOST_COLUMNS, COLUMNS * max(1, round(seconds / small)))


def _fill_peer_round(peer: KernelBackend, case: Case, with_vjp: bool, seconds: float) -> tuple[int, int]:
    """Return the largest square block of 2×2, 4×4 … pairs that takes at most `seconds`; 2×2 where none does."""
    side = PEER_SIDE
    while side < MOST_PEER_SIDE:
        taken, growth = _seconds_once_warm(peer, case, side, side, with_vjp), 1
        while taken * (2 * growth) ** 2 <= seconds:
            growth *= 2
        if growth == 1:
            break
        side = min(MOST_PEER_SIDE, side * growth)  # small blocks cost more per pair, so look again
    return side, side


def _seconds_once_warm(backend: KernelBackend, case: Case, rows: int, columns: int, with_vjp: bool) -> float:
    from hpcdistill.bench.timing import seconds_of

    call = block_call(backend, case, rows, columns, with_vjp=with_vjp)
    call()
    return seconds_of(call, backend.device)


def _matmul_gflops(dtype: str, rounds: int) -> float:
    """Return what NumPy's matrix product reaches here: a scale for the rest."""
    import numpy as np

    from hpcdistill.bench.timing import seconds_of

    a = np.random.default_rng(0).random((MATMUL_SIZE, MATMUL_SIZE)).astype(dtype)
    result = a @ a
    return 2e-9 * MATMUL_SIZE**3 / median(seconds_of(lambda: np.matmul(a, a, out=result)) for _ in range(rounds))


def _say(threads: int, text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {threads} thread(s), {text}", file=sys.stderr, flush=True)
