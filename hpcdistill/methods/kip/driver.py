"""Kernel Inducing Points: evaluate, differentiate, step."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from hpcdistill.errors import NotFiniteError
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.io.run_directory import in_paper_schedule
from hpcdistill.learning.krr import Gradient
from hpcdistill.methods.kip.average import Average, with_state
from hpcdistill.methods.kip.pace import Pace
from hpcdistill.methods.kip.schedule import Schedule
from hpcdistill.methods.kip.settings import KipConfig
from hpcdistill.methods.kip.step import (
    KipState,
    initial_log_temperature,
    initial_state,
    kip_gradient,
    kip_update,
    make_adam,
)
from hpcdistill.mpi.collectives import agree_any, bcast_object, on_root
from hpcdistill.run.driver import Driver, Moment, Snapshot
from hpcdistill.run.evaluator import Evaluator
from hpcdistill.run.experiment import Experiment
from hpcdistill.run.initial_support import make_initial_support, noise_mask
from hpcdistill.run.recorder import stored_config

#: The speed of so many last steps tells how many a resumed run can make in the time that it is given.
EARLIER_STEPS = 10


class KipDriver(Driver):
    """Learns images (and labels). A step is an update of both."""

    def __init__(self, experiment: Experiment, evaluator: Evaluator, resumed: Checkpoint | None) -> None:
        super().__init__(experiment, evaluator, resumed)
        self._settings, self._adam = experiment.config.of(KipConfig), make_adam(experiment.config)
        self._resumed, self._used_before, self._just_decided = resumed, self.history.last_seconds, False
        self._average: Average | None = None
        if resumed is None:
            self._begin()
        else:
            self._restore(resumed)
        self._noise, self._first_step = noise_mask(experiment.config, self._state.x_s.shape), self.step

    def _begin(self) -> None:
        experiment = self.experiment
        initial = on_root(experiment.comm, lambda: make_initial_support(experiment))
        self.history.add(0)
        self._state = initial_state(self._adam, initial.x_s, initial.y_s, experiment.config)
        self._source, self._initial_display = initial.source_index, experiment.display(initial.x_s)
        self._pace = Pace(self._settings, None)

    def _restore(self, checkpoint: Checkpoint) -> None:
        experiment, array = self.experiment, checkpoint.array
        log_temperature = checkpoint.arrays.get("kip/log_temperature", initial_log_temperature(experiment.config))
        self._average = Average.stored(checkpoint)
        group = "kip" if self._average else "support"
        self._state = KipState(
            int(array("random/step")[0]),
            array(f"{group}/images"),
            array(f"{group}/labels"),
            log_temperature,
            checkpoint.group("optimizer"),
        )
        self._source, self._initial_display = array("support/source_index"), array("support/initial_display")
        used = self._used_before + experiment.reporter.elapsed
        self._pace = Pace(self._settings, _stored_plan(checkpoint, self._settings), self._state.step, used)

    @property
    def step(self) -> int:
        """Updates so far."""
        return self._state.step

    @property
    def _support(self) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels that are the result."""
        return (self._average.images, self._average.labels) if self._average else (self._state.x_s, self._state.y_s)

    def snapshot(self) -> Snapshot:
        """See `Driver`."""
        state, (x_s, y_s) = self._state, self._support
        arrays = {f"optimizer/{name}": array for name, array in state.optimizer.items()}
        arrays |= {"kip/log_temperature": state.log_temperature, "kip/plan": self._pace.to_array()}
        arrays |= self._average.to_arrays(state) if self._average else {}
        return Snapshot(state.step, x_s, y_s, self.history, self._source, self._initial_display, arrays)

    def is_due(self) -> bool:
        """See `Driver`: every so many steps, at those of the papers' schedule, and where the plan has changed."""
        every = self.experiment.config.checkpoint.every
        return self.step % every == 0 or in_paper_schedule(self.step) or self._just_decided

    def moments(self) -> Iterator[Moment]:
        """Make the steps. A support is known to be good when its gradient is."""
        if self._resumed is not None:
            self._go_on(self._resumed)
        self._report()
        while True:
            begun = time.monotonic()
            self._check_range()
            evaluated = self._evaluate()
            evaluation_seconds = time.monotonic() - begun
            if self._is_done():
                self._say_how_it_ended()
                return
            yield Moment.UNPROVEN
            gradient = self._gradient()
            yield Moment.PROVEN
            self._update(gradient)
            if self._settings.hours:
                seconds = time.monotonic() - begun - evaluation_seconds
                self._pace.note_step(seconds, self._pace.schedule.batch(self.step - 1))
                if evaluated:
                    self._pace.note_evaluation(evaluation_seconds)
                self._just_decided = self._decide()
            row = self.history.rows[self.step]
            self._report(f"loss {row['loss']:.5f}  train {row['train_accuracy']:.1%}  "
                         f"{self._seconds_a_step():.2f} s/step")  # fmt: skip

    def _say_how_it_ended(self) -> None:
        if self._resumed is not None and self.step == self._first_step:
            self.experiment.reporter.say(f"step {self.step} was the last one: nothing was left to do")
        if fall := self.history.falls("test_accuracy"):
            self.experiment.reporter.say(
                f"the images are worse than those it began with: {fall[0]:.2%} → {fall[1]:.2%}. Lower "
                "kip.learning_rate, or take more targets (kip.batch) or more steps."
            )

    def _seconds_a_step(self) -> float:
        """The mean since this attempt began, which is what the time left is told by."""
        return float((self.history.last_seconds - self._used_before) / (self.step - self._first_step))

    def _report(self, figures: str = "") -> None:
        self.experiment.reporter.advance("KIP step", self.step, int(self._pace.plan[0]), figures)

    def _update(self, gradient: Gradient) -> None:
        scaled = self._adam.scaled(self._pace.schedule.rate(self.step))
        self._state = kip_update(self.experiment.comm, scaled, self._state, gradient)
        counts = self._pace.schedule.averages(self.step)  # no longer, perhaps, where the run has become longer
        self._average = with_state(self._average, self._state) if counts else None
        temperature = float(np.exp(self._state.log_temperature[0])) if self._settings.loss == "cross_entropy" else None
        self.history.add(self.step, loss=gradient.loss, train_accuracy=gradient.accuracy, seconds=self.seconds(),
                         temperature=temperature)  # fmt: skip

    def _gradient(self) -> Gradient:
        """Return the gradient of this step's batch, zero for pixels that stay noise."""
        experiment, count = self.experiment, self._pace.schedule.batch(self.step)
        targets = experiment.batch_targets(self.step, count, self._settings.balance)
        kernels = experiment.batch_kernels(self.step)
        gradient = kip_gradient(experiment.comm, kernels, self._state, targets, experiment.config)
        gradient.images[self._noise] = 0.0
        return gradient

    def _decide(self) -> bool:
        """Decide on the number of steps, or correct it, where enough is known; return whether it changed."""
        comm, reporter, pace = self.experiment.comm, self.experiment.reporter, self._pace
        before = pace.plan
        text = pace.decide(self.step, self._used_before + reporter.elapsed) if comm.Get_rank() == 0 else ""
        pace.plan = bcast_object(comm, pace.plan)
        if text:
            reporter.say(text)
        return pace.plan != before

    def _go_on(self, resumed: Checkpoint) -> None:
        """Decide on the length of a run that goes on, by its earlier steps, and say what that does to its schedule."""
        pace, step, before = self._pace, self.step, _stored_schedule(resumed)
        if not pace.is_decided:
            seconds = np.diff(np.nan_to_num(self.history.column("seconds")))
            for earlier in range(max(0, step - EARLIER_STEPS), step):
                pace.note_step(float(seconds[earlier]), before.batch(earlier))
            self._decide()
        if pace.is_decided and (change := pace.schedule.change(before, step)):
            self.experiment.reporter.say(change)
        if not pace.schedule.averages(step):  # the last steps are others now
            self._average = None

    def _check_range(self) -> None:
        """Raise `NotFiniteError` on every rank if a step has led beyond what the kernels can compute with."""
        dtype = self.experiment.kernels.ts.dtype
        largest = np.abs(self._state.x_s).max()
        if not largest <= np.sqrt(np.finfo(dtype).max):  # kernels need products of pixels; a NaN fails here too
            raise NotFiniteError(
                f"support images with pixels up to {largest:.0e} are beyond {dtype} at step {self.step}. "
                "Lower kip.learning_rate or raise solve.reg."
            )

    def _is_done(self) -> bool:
        patience, step = self._settings.patience, self.step
        done, exhausted = self._pace.is_done(step), 0 < patience <= self.history.evaluations_since_best()
        if exhausted and not done:
            self.experiment.reporter.say(
                f"stopped at step {step}: no better validation accuracy in {patience} evaluations (kip.patience); "
                f"best.h5 has step {self.history.best_validation_step()}"
            )
        return agree_any(self.experiment.comm, done or exhausted)

    def _evaluate(self) -> bool:
        """Measure accuracies where they are due and not known yet; return whether they were measured."""
        experiment, step, row, (x_s, y_s) = self.experiment, self.step, self.history.rows[self.step], self._support
        if step % self._settings.evaluate_every and not self._pace.is_done(step):
            return False
        if np.isfinite(row["test_accuracy"]) or np.isfinite(row["validation_accuracy"]):
            return False
        if len(experiment.validation) == 0 and experiment.test is None:
            return False
        regression = experiment.regression_on(x_s)
        try:
            found = {
                "validation": self.evaluator.validation(regression, x_s, y_s),
                "test": self.evaluator.test(regression, x_s, y_s),
            }
        finally:
            regression.close()
        measured = {name: tally for name, tally in found.items() if tally is not None}
        if not all(np.isfinite(tally.loss) for tally in measured.values()):
            raise NotFiniteError(
                f"predictions at step {step} are not finite. Lower kip.learning_rate or raise solve.reg."
            )
        accuracies = {f"{split}_accuracy": tally.accuracy for split, tally in measured.items()}
        self.history.add(step, **bcast_object(experiment.comm, accuracies))
        text = "  ".join(f"{name.split('_')[0]} {value:.2%}" for name, value in accuracies.items())
        loss = row["loss"]
        experiment.reporter.say(f"step {step}: {text}" + (f"  loss {loss:.5f}" if np.isfinite(loss) else ""))
        return True


def _stored_schedule(checkpoint: Checkpoint) -> Schedule:
    """The schedule that a checkpoint's run was on; of 0 steps where that was not decided yet."""
    kip = stored_config(checkpoint).of(KipConfig)
    return Schedule(kip, int(_stored_plan(checkpoint, kip)[0]))


def _stored_plan(checkpoint: Checkpoint, kip: KipConfig) -> tuple[float, float]:
    steps, hours = checkpoint.arrays.get("kip/plan", np.array([kip.steps, 0.0])).tolist()
    return steps, hours
