"""`bench kernels`: start a measuring process for each number of threads, one after the other; report all of it."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from hpcdistill.bench.cases import KernelRequest
from hpcdistill.bench.machine import versions
from hpcdistill.bench.report import check_writable, print_table, write_json
from hpcdistill.bench.rows import HEADINGS, kernel_table
from hpcdistill.bench.worker import measure
from hpcdistill.errors import HpcDistillError


def bench_kernels(request: KernelRequest, threads: tuple[int, ...], json_path: Path | None) -> None:
    """Measure, print a table and write `json_path`, if given. Not collective: to be called on one process.

    Raises:
        InputError: a backend cannot serve a case, or the file cannot be written; before anything is measured.
        HpcDistillError: a measuring process was killed.
        StorageError: the file could not be written after all; the table has been printed.
    """
    check_writable(json_path)
    load = os.getloadavg()[0]
    parts = {count: measure_apart(request, count) for count in threads}
    rows = [row for same in zip(*(part["rows"] for part in parts.values()), strict=True) for row in same]
    print_table(HEADINGS, kernel_table(rows))
    gflops = {str(count): part["matmul_gflops"] for count, part in parts.items()}
    for count, by_dtype in gflops.items():
        products = ", ".join(f"{value:.0f} Gflop/s {dtype}" for dtype, value in by_dtype.items())
        print(f"matrix product of NumPy, {count} thread(s): {products}")
    print(f"device: {rows[0]['device']}; load average before: {load:.1f}")
    if json_path:
        rounds = [one for part in parts.values() for one in part["rounds"]]
        content = {"command": "bench kernels", "rows": rows, "rounds": rounds, "sgemm_gflops": gflops,
                   "cores": len(os.sched_getaffinity(0)), "load_average_before": load,
                   "versions": versions()}  # fmt: skip
        write_json(json_path, content)
        print(f"wrote {json_path}")


def measure_apart(request: KernelRequest, threads: int) -> dict[str, Any]:
    """Return what `worker.measure` does in a fresh process with `threads` cores; its errors are raised here."""
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(measure, request, threads).result()
        except BrokenProcessPool:
            raise HpcDistillError(
                f"The measuring process with {threads} thread(s) was killed, perhaps for its memory: "
                "give a smaller block with --pairs, or fewer cases with --architecture."
            ) from None
