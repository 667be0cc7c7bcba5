"""The settings of Kernel Inducing Points. Light."""

from __future__ import annotations

from dataclasses import dataclass

from hpcdistill.schema import key

LOSSES = ("cross_entropy", "squared_error")
SCHEDULES = ("constant", "cosine")
BALANCES = ("classes", "proportional")


@dataclass(frozen=True)
class KipConfig:
    """Section `[kip]`."""

    steps: int = key(300, "gradient steps", minimum=0)
    hours: float = key(0.0, "as many steps as fit so many hours, from start to end, instead; 0: kip.steps", minimum=0)
    batch: int = key(250, "target images per step, fresh every step; 0: all, every step", minimum=0)
    balance: str = key("classes", "a batch has as many images of each class, or in proportion to its size", BALANCES)
    last_batch: int = key(0, "the batch grows to so many by the last step, geometrically; 0: it does not", minimum=0)
    loss: str = key("cross_entropy", "of softmax(temperature · f), or the papers' mean square", LOSSES)
    temperature: float = key(10.0, "cross-entropy: what predictions are multiplied by, to begin with", above=0)
    temperature_rate: float = key(0.02, "Adam's step for its logarithm; 0: the temperature stays", minimum=0)
    learning_rate: float = key(4e-2, "Adam's step for images", minimum=0)
    learn_labels: bool = key(True, "learn the support labels too")
    label_learning_rate: float = key(4e-2, "Adam's step for labels", minimum=0)
    schedule: str = key("constant", "how the rates change: not, or from full to none along a cosine", SCHEDULES)
    warmup: int = key(0, "steps over which the rates rise to their full size", minimum=0)
    average: float = key(0.0, "share of the steps, the last ones, whose supports are averaged to the result", minimum=0,
                         maximum=1)  # fmt: skip
    architectures: tuple[str, ...] = key((), "sampling KIP: each step draws its kernel from these; empty: the kernel's")
    evaluate_every: int = key(20, "steps between evaluations on test (and validation) images", minimum=1)
    patience: int = key(0, "stop after so many evaluations without a better validation accuracy; 0: never", minimum=0)

    @property
    def is_constant(self) -> bool:
        """Whether what a step does is the same however many steps there are."""
        return self.schedule == "constant" and not self.last_batch and not self.average
