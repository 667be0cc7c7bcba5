"""The loop of a KIP run: evaluate, save, step."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from hpcdistill.config import Config, KipConfig
from hpcdistill.errors import NotFiniteError, NumericalError, StopRequested
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.io.run_directory import in_paper_schedule
from hpcdistill.learning.adam import Adam
from hpcdistill.learning.history import History
from hpcdistill.learning.kip import (
    KipState,
    initial_log_temperature,
    initial_state,
    kip_gradient,
    kip_update,
    make_adam,
)
from hpcdistill.learning.krr import Gradient
from hpcdistill.learning.schedule import Schedule
from hpcdistill.mpi.collectives import agree_any, all_meet, bcast_object, on_root
from hpcdistill.run.evaluation import Evaluator
from hpcdistill.run.experiment import Experiment
from hpcdistill.run.initial_support import make_initial_support, noise_mask
from hpcdistill.run.pace import Pace
from hpcdistill.run.recorder import Recorder, noted_changes, stored_config
from hpcdistill.run.stop import Boundary
from hpcdistill.run.store import Store
from hpcdistill.run.whitened import keep_whitened

#: The speed of so many last steps tells how many a resumed run can make in the time that it is given.
EARLIER_STEPS = 10


@dataclass
class _Progress:
    """The state of the loop beside the support itself."""

    state: KipState
    history: History
    source_index: np.ndarray
    initial_display: np.ndarray
    pace: Pace


def run_kip(experiment: Experiment, store: Store, resumed: Checkpoint | None, boundary: Boundary) -> None:
    """Learn a support set, from the start or from a checkpoint. Collective.

    Raises:
        NumericalError: on every rank; the last good support has been saved.
        StopRequested: on every rank; the present support has been saved.
    """
    experiment = keep_whitened(experiment)
    comm, config, reporter = experiment.comm, experiment.config, experiment.reporter
    adam = make_adam(config)
    now = _restore(resumed, experiment) if resumed else _begin(experiment, adam)
    pace, used_before = now.pace, now.history.last_seconds
    changes = noted_changes(resumed, config)
    recorder = Recorder(experiment, store, now.source_index, now.initial_display, changes)
    if changes:
        reporter.say(f"settings were changed on the way: {'; '.join(changes.splitlines())}")
    if resumed:
        _go_on(experiment, now, resumed)
    noise = noise_mask(config, now.state.x_s.shape)
    evaluator = Evaluator(experiment, store, boundary)
    saved = now.state.step if resumed else -1
    started = time.monotonic() - used_before
    previous, just_decided = now.state, False
    reporter.advance("KIP step", now.state.step, int(pace.plan[0]))
    while True:
        state, begun = now.state, time.monotonic()
        try:
            _check_range(experiment, state)
            evaluated = _evaluate(experiment, now, recorder, evaluator)
            evaluation_seconds = time.monotonic() - begun
            done = _is_done(experiment, now)
            if not done:
                boundary.check(comm)
            gradient = None if done else _gradient(experiment, now, noise)
        except StopRequested:
            if state.step != saved:
                _save(recorder, now)
            raise
        except NumericalError:
            if not all_meet(comm):
                raise
            if previous.step > saved:
                _save(recorder, replace(now, state=previous, history=now.history.up_to(previous.step)))
                saved = previous.step
            if saved >= 0:
                reporter.say(f"step {saved} is saved: set what the error names with --set, and continue with --resume")
            raise
        # Only now is this support known to be good. (One that is saved for a stop is in range, which has to do.)
        if state.step != saved and (done or just_decided or _is_due(state.step, config.checkpoint.every)):
            _save(recorder, now)
            saved = state.step
        if gradient is None:
            break
        scaled = adam.scaled(pace.schedule.rate(state.step))
        previous, now.state = state, kip_update(comm, scaled, state, gradient)
        seconds = bcast_object(comm, time.monotonic() - started)
        now.history.add(now.state.step, loss=gradient.loss, train_accuracy=gradient.accuracy, seconds=seconds,
                        temperature=_temperature(config, now.state))  # fmt: skip
        store.note_step(comm, now.state.step, now.history)
        if config.kip.hours:
            pace.note_step(time.monotonic() - begun - evaluation_seconds, pace.schedule.batch(state.step))
            if evaluated:
                pace.note_evaluation(evaluation_seconds)
            just_decided = _decide(experiment, now, used_before)
        reporter.advance(
            "KIP step",
            now.state.step,
            int(pace.plan[0]),
            f"loss {gradient.loss:.5f}  train {gradient.accuracy:.1%}  {seconds / now.state.step:.2f} s/step",
        )


def _decide(experiment: Experiment, now: _Progress, used_before: float) -> bool:
    """Decide on the number of steps, or correct it, where enough is known; return whether it changed. Collective."""
    comm, reporter, pace = experiment.comm, experiment.reporter, now.pace
    before = pace.plan
    text = pace.decide(now.state.step, used_before + reporter.elapsed) if comm.Get_rank() == 0 else ""
    pace.plan = bcast_object(comm, pace.plan)
    if text:
        reporter.say(text)
    return pace.plan != before


def _go_on(experiment: Experiment, now: _Progress, resumed: Checkpoint) -> None:
    """Decide on the length of a run that goes on, by its earlier steps, and say what that does to its schedule."""
    pace, step = now.pace, now.state.step
    before = _stored_schedule(resumed)
    if not pace.is_decided:
        seconds = np.diff(np.nan_to_num(now.history.column("seconds")))
        for earlier in range(max(0, step - EARLIER_STEPS), step):
            pace.note_step(float(seconds[earlier]), before.batch(earlier))
        _decide(experiment, now, now.history.last_seconds)
    if pace.is_decided and (change := pace.schedule.change(before, step)):
        experiment.reporter.say(change)


def _stored_schedule(checkpoint: Checkpoint) -> Schedule:
    """The schedule that a checkpoint's run was on; of 0 steps where that was not decided yet."""
    kip = stored_config(checkpoint).kip
    return Schedule(kip, int(_stored_plan(checkpoint, kip)[0]))


def _stored_plan(checkpoint: Checkpoint, kip: KipConfig) -> tuple[float, float]:
    steps, hours = checkpoint.arrays.get("kip/plan", np.array([kip.steps, 0.0])).tolist()
    return steps, hours


def _check_range(experiment: Experiment, state: KipState) -> None:
    """Raise `NotFiniteError` on every rank if a step has led beyond what the kernels can compute with."""
    dtype = experiment.kernels.ts.dtype
    largest = np.abs(state.x_s).max()
    if not largest <= np.sqrt(np.finfo(dtype).max):  # kernels need products of pixels; a NaN fails here too
        raise NotFiniteError(
            f"support images with pixels up to {largest:.0e} are beyond {dtype} at step {state.step}. "
            "Lower kip.learning_rate or raise solve.reg."
        )


def _begin(experiment: Experiment, adam: Adam) -> _Progress:
    initial = on_root(experiment.comm, lambda: make_initial_support(experiment))
    history = History()
    history.add(0)
    state = initial_state(adam, initial.x_s, initial.y_s, experiment.config)
    pace = Pace(experiment.config.kip, None)
    return _Progress(state, history, initial.source_index, experiment.display(initial.x_s), pace)


def _restore(checkpoint: Checkpoint, experiment: Experiment) -> _Progress:
    config, array = experiment.config, checkpoint.array
    x_s, y_s = array("support/images"), array("support/labels")
    log_temperature = checkpoint.arrays.get("kip/log_temperature", initial_log_temperature(config))
    state = KipState(int(array("random/step")[0]), x_s, y_s, log_temperature, checkpoint.group("optimizer"))
    history = History.from_arrays(checkpoint.history())
    used = history.last_seconds + experiment.reporter.elapsed
    pace = Pace(config.kip, _stored_plan(checkpoint, config.kip), state.step, used)
    return _Progress(state, history, array("support/source_index"), array("support/initial_display"), pace)


def _temperature(config: Config, state: KipState) -> float | None:
    return float(np.exp(state.log_temperature[0])) if config.kip.loss == "cross_entropy" else None


def _gradient(experiment: Experiment, now: _Progress, noise: np.ndarray) -> Gradient:
    """Return the gradient of this step's batch, zero for pixels that stay noise. Collective."""
    state = now.state
    targets = experiment.batch_targets(state.step, now.pace.schedule.batch(state.step))
    kernels = experiment.batch_kernels(state.step)
    gradient = kip_gradient(experiment.comm, kernels, state, targets, experiment.config)
    gradient.images[noise] = 0.0
    return gradient


def _is_due(step: int, every: int) -> bool:
    return step % every == 0 or in_paper_schedule(step)


def _is_done(experiment: Experiment, now: _Progress) -> bool:
    kip, step = experiment.config.kip, now.state.step
    done, exhausted = now.pace.is_done(step), 0 < kip.patience <= now.history.evaluations_since_best()
    if exhausted and not done:
        experiment.reporter.say(
            f"stopped at step {step}: no better validation accuracy in {kip.patience} evaluations (kip.patience); "
            f"best.h5 has step {now.history.best_validation_step()}"
        )
    return agree_any(experiment.comm, done or exhausted)


def _save(recorder: Recorder, now: _Progress) -> None:
    state = now.state
    extra = {f"optimizer/{name}": array for name, array in state.optimizer.items()}
    extra |= {"kip/log_temperature": state.log_temperature, "kip/plan": now.pace.to_array()}
    recorder.save(state.step, state.x_s, state.y_s, now.history, **extra)


def _evaluate(experiment: Experiment, now: _Progress, recorder: Recorder, evaluator: Evaluator) -> bool:
    """Measure accuracies where they are due and not known yet, and keep the best support on validation.

    Returns:
        Whether they were measured.
    """
    kip, step, history = experiment.config.kip, now.state.step, now.history
    if step % kip.evaluate_every and not now.pace.is_done(step):
        return False
    if np.isfinite(history.rows[step]["test_accuracy"]) or np.isfinite(history.rows[step]["validation_accuracy"]):
        return False
    if len(experiment.validation) == 0 and experiment.test is None:
        return False
    support = experiment.factored_support(now.state.x_s)
    try:
        found = {name: measure(support, now.state.x_s, now.state.y_s)
                 for name, measure in (("validation", evaluator.validation), ("test", evaluator.test))}  # fmt: skip
    finally:
        support.close()
    metrics = {name: measured for name, measured in found.items() if measured is not None}
    if not all(np.isfinite(measured.loss) for measured in metrics.values()):
        raise NotFiniteError(f"predictions at step {step} are not finite. Lower kip.learning_rate or raise solve.reg.")
    figures = {f"{split}_accuracy": measured.accuracy for split, measured in metrics.items()}
    history.add(step, **bcast_object(experiment.comm, figures))
    text = "  ".join(f"{name.split('_')[0]} {value:.2%}" for name, value in figures.items())
    loss = history.rows[step]["loss"]
    experiment.reporter.say(f"step {step}: {text}" + (f"  loss {loss:.5f}" if np.isfinite(loss) else ""))
    if "validation" in metrics and history.best_validation_step() == step:
        recorder.save_best(step, now.state.x_s, now.state.y_s, history)
    return True
