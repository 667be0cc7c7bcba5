"""The loop of every method: it saves what is good, keeps the best, ends where it is asked to, and can be resumed."""

from __future__ import annotations

from dataclasses import replace

from hpcdistill.config import Config
from hpcdistill.errors import EnvironmentSetupError, InputError, NumericalError, StopRequested
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.io.exchanged import Exchanged
from hpcdistill.method import Method, load_driver
from hpcdistill.mpi.collectives import all_meet
from hpcdistill.mpi.traffic import counted
from hpcdistill.run.driver import Driver, Moment, Snapshot
from hpcdistill.run.evaluator import Evaluator
from hpcdistill.run.experiment import Experiment
from hpcdistill.run.recorder import Recorder, noted_changes
from hpcdistill.run.stop import Boundary
from hpcdistill.run.store import Store
from hpcdistill.run.whitened import keep_whitened


def run_method(experiment: Experiment, store: Store, resumed: Checkpoint | None, boundary: Boundary) -> None:
    """Do what the experiment's method does, from the start or from a checkpoint. Collective.

    Raises:
        NumericalError: on every rank; the last good state has been saved.
        StopRequested: on every rank; the present state has been saved.
    """
    experiment = keep_whitened(experiment)
    changes = noted_changes(resumed, experiment.config)
    with counted() as traffic:
        evaluator = Evaluator(experiment, store, boundary)
        driver = driver_class(experiment.method, experiment.config)(experiment, evaluator, resumed)
        if changes:
            experiment.reporter.say(f"settings were changed on the way: {'; '.join(changes.splitlines())}")
        before = Exchanged.begun(resumed, experiment.comm.Get_size(), driver.step)
        recorder = Recorder(
            experiment, store, changes, lambda step: before.with_messages(step, traffic.calls, traffic.bytes)
        )
        _Loop(driver, store, recorder, boundary, resumed is not None).run()


def driver_class(method: Method, config: Config) -> type[Driver]:
    """Return the class of a method's driver. Not collective.

    Raises:
        EnvironmentSetupError: it is not there, or no `Driver`.
    """
    found = load_driver(method, config)
    where = f"method {method.name!r}: {method.driver_of(config)}"
    if not (isinstance(found, type) and issubclass(found, Driver)):
        raise EnvironmentSetupError(f"{where} is no hpcdistill.run.driver.Driver. Mend the package it comes from.")
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        raise EnvironmentSetupError(f"{where} lacks {', '.join(missing)}. Mend the package it comes from.")
    return found


class _Loop:
    def __init__(self, driver: Driver, store: Store, recorder: Recorder, boundary: Boundary, is_resumed: bool) -> None:
        self._driver, self._store, self._recorder, self._boundary = driver, store, recorder, boundary
        self._comm, self._say = driver.experiment.comm, driver.experiment.reporter.say
        self._saved = driver.saved_as if is_resumed else None
        self._noted, self._best = self._newest(), driver.history.best_validation_step()
        self._good: tuple[object, Snapshot] | None = None

    def run(self) -> None:
        try:
            self._boundary.check(self._comm)
            for moment in self._driver.moments():
                self._take(moment)
            self._keep_best()
            self._save_present()
            self._note()
        except StopRequested:
            self._save_present()
            raise
        except (NumericalError, InputError) as error:
            if all_meet(self._comm):
                self._save_good()
            if type(error) is InputError and self._good:  # of images that steps have led beyond what kernels can take
                text = f"steps have led to images that cannot be used (after step {self._good[1].step}: {error})"
                raise NumericalError(f"{text}. Smaller steps come first: lower the learning rate.") from error
            raise

    def _take(self, moment: Moment) -> None:
        if moment is not Moment.PROVEN:
            self._keep_best()
        if moment is not Moment.UNPROVEN:
            self._good = self._driver.saved_as, self._snapshot()
            if self._driver.is_due():
                self._save_present()
        if moment is not Moment.PROVEN:
            self._note()
            self._boundary.check(self._comm)

    def _save_present(self) -> None:
        if self._driver.saved_as not in (None, self._saved):
            self._recorder.save(self._snapshot())
            self._saved = self._driver.saved_as

    def _snapshot(self) -> Snapshot:
        experiment, snapshot = self._driver.experiment, self._driver.snapshot()
        snapshot.check(experiment.method.name, experiment.dataset.image_shape, experiment.dataset.n_classes)
        return snapshot

    def _save_good(self) -> None:
        """After an error: save the last state that was good, and say where to go on from."""
        if self._good and self._good[0] != self._saved:
            self._saved, good = self._good
            self._recorder.save(replace(good, history=good.history.up_to(good.step)))
        if self._saved is not None:
            step = self._good[1].step if self._good else self._driver.step
            self._say(f"step {step} is saved: set what the error names with --set, and continue with --resume")

    def _keep_best(self) -> None:
        best = self._driver.history.best_validation_step()
        if best is not None and best != self._best and best == self._driver.step:
            self._recorder.save_best(self._snapshot())
            self._best = best

    def _note(self) -> None:
        newest = self._newest()
        if newest is not None and newest != self._noted:
            self._store.note_step(self._comm, newest, self._driver.history)
            self._noted = newest

    def _newest(self) -> int | None:
        return None if self._driver.saved_as is None else self._driver.step
