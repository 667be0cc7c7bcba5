"""Kernel entries that a plan tells are those that a run computes, over all ranks."""

from collections import Counter

import pytest

from hpcdistill.config import parse_config
from hpcdistill.cost.work import Rows
from hpcdistill.data.readers import load_dataset
from hpcdistill.kernels.select import choose_backend
from hpcdistill.mpi.collectives import gather_objects
from hpcdistill.run import experiment
from hpcdistill.run.in_memory import run_in_memory
from hpcdistill.run.planning import images_of, work_of

pytestmark = pytest.mark.most_ranks(3)

BASE = {"kernel.architecture": "FC1", "solve.reg": 1e-3, "data.train_size": 600, "data.test_size": 100}


class Counting:
    """A backend that counts entries by type, and whether they are differentiated."""

    def __init__(self, backend, entries):
        self._backend, self._entries = backend, entries

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def count(self, h1, h2, gradient):
        self._entries[str(self._backend.dtype), gradient] += len(h1) * len(h2)

    def block(self, h1, h2):
        self.count(h1, h2, False)
        return self._backend.block(h1, h2)

    def block_vjp(self, h1, h2, cotangent):
        self.count(h1, h2, True)
        return self._backend.block_vjp(h1, h2, cotangent)

    def sweep(self, h1):
        return CountingSweep(self._backend.sweep(h1), h1, self)


class CountingSweep:
    def __init__(self, sweep, h1, backend):
        self._sweep, self._h1, self._counting = sweep, h1, backend

    def __getattr__(self, name):
        return getattr(self._sweep, name)

    def block(self, h2):
        self._counting.count(self._h1, h2, True)
        return self._sweep.block(h2)


def planned(config):
    entries, kernel = Counter(), config.kernel
    for phase in work_of(config, images_of(config)).phases:
        for part in (*phase.tiles, *phase.rows):
            entries[kernel.types[isinstance(part, Rows)], part.gradient] += phase.times * part.entries
    return entries


@pytest.mark.parametrize(
    "settings",
    [
        {"kip.steps": 3, "kip.batch": 90, "kip.evaluate_every": 2, "support.images_per_class": 2},
        {"kip.steps": 2, "kip.batch": 50, "kip.last_batch": 200, "support.images_per_class": 1, "data.validation": 100},
        {"kip.steps": 1, "kip.batch": 0, "support.images_per_class": 1, "kernel.precision": "float64"},
        {"method": "label_solve", "label_solve.chunk": 250, "support.images_per_class": 2},
        {"method": "krr", "krr.draws": 3, "support.images_per_class": 2},
        {"method": "krr", "support.images_per_class": 0, "krr.regs": "[0.1]"},
        {"method": "krr", "support.images_per_class": 0, "krr.precision": "float32", "data.validation": 100},
    ],
    ids=str,
)
def test_entries_are_those_counted(comm, monkeypatch, settings):
    config = parse_config("", [f"{key}={value}" for key, value in (BASE | settings).items()])
    mine = Counter()
    monkeypatch.setattr(experiment, "choose_backend", lambda *given: Counting(choose_backend(*given), mine))
    run_in_memory(comm, lambda: (config, lambda: load_dataset("digits")), None, show=False)
    counted = sum(gather_objects(comm, mine), Counter())
    assert counted == {key: pytest.approx(count) for key, count in planned(config).items()}
