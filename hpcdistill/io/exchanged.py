"""What the ranks of a run have said to each other, as a checkpoint keeps it: the first rank's calls and bytes.

They are those of `mpi.traffic`, evaluations and checkpoints included. A run that goes on, on as many ranks, adds to
them; on another number it begins anew. Needs no MPI; not collective.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hpcdistill.io.checkpoint import Checkpoint

#: The attribute of a checkpoint.
ATTRIBUTE = "exchanged"
#: Kinds of messages (`mpi.traffic.Traffic`), in words.
IN_WORDS = {
    "Allreduce": "sums of arrays",
    "Bcast": "arrays that one rank gives to all",
    "Send": "arrays sent to another rank",
    "Recv": "arrays received from another rank",
    "allreduce": "agreements on a number",
    "bcast": "objects that one rank gives to all",
    "allgather": "objects of every rank",
    "Fetch_and_op": "work dealt out by a counter",
}


@dataclass(frozen=True)
class Exchanged:
    """Messages of a run on a number of ranks.

    Attributes:
        since, step: counted are the steps after the one, up to the other; -1 is before the first draw.
        messages: calls and bytes by kind; none on one rank.
    """

    ranks: int
    since: int
    step: int
    messages: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def stored(cls, checkpoint: Checkpoint) -> Exchanged | None:
        """Return what a checkpoint has, None where its version did not count.

        Raises:
            CheckpointError: the attribute is damaged.
        """
        if ATTRIBUTE not in checkpoint.attributes:
            return None
        try:
            found = json.loads(checkpoint.attribute(ATTRIBUTE))
            messages = {name: (_whole(calls), _whole(n)) for name, (calls, n) in found["messages"].items()}
            return cls(_whole(found["ranks"]), _whole(found["since"]), _whole(found["step"]), messages)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            raise checkpoint.changed(f"its attribute {ATTRIBUTE} is damaged") from None

    @classmethod
    def begun(cls, checkpoint: Checkpoint | None, ranks: int, step: int) -> Exchanged:
        """Return what an attempt at a run adds to: what its checkpoint has, where that was on as many ranks."""
        before = cls.stored(checkpoint) if checkpoint else None
        return before if before and before.ranks == ranks else cls(ranks, step, step)

    def with_messages(self, step: int, calls: Mapping[str, int], n_bytes: Mapping[str, int]) -> Exchanged:
        """Return the sum with more messages, up to a step."""
        none = (0, 0)
        names = [*self.messages, *(name for name in calls if name not in self.messages)]
        old = {name: self.messages.get(name, none) for name in names}
        new = {name: (old[name][0] + calls.get(name, 0), old[name][1] + n_bytes.get(name, 0)) for name in names}
        return replace(self, step=step, messages=new)

    def to_attribute(self) -> str:
        """Return the attribute's text."""
        return json.dumps({"ranks": self.ranks, "since": self.since, "step": self.step, "messages": self.messages})

    @property
    def steps(self) -> int:
        """Number of steps counted, at least 1 to divide by."""
        return max(1, self.step - self.since)

    @property
    def total(self) -> tuple[int, int]:
        """Calls and bytes of all kinds."""
        return sum(calls for calls, _ in self.messages.values()), sum(n for _, n in self.messages.values())

    @property
    def summary(self) -> str:
        """A line on an average step; "" where nothing was exchanged."""
        calls, n_bytes = self.total
        if not calls:
            return ""
        per_step = " per step" * (self.steps > 1)
        return (f"{size_in_words(n_bytes / self.steps)} in {calls / self.steps:.4g} messages{per_step}, "
                f"rank 0 of {self.ranks}")  # fmt: skip


def _whole(value: object) -> int:
    if type(value) is not int or not -1 <= value < 2**63:
        raise ValueError(f"{value!r} is no number of what was counted")
    return value


def size_in_words(n_bytes: float) -> str:
    """Return a number of bytes with three digits and a unit, powers of 1000: "2.5 kB"."""
    unit, scale = next(((u, s) for u, s in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if n_bytes >= s), ("B", 1.0))
    value = n_bytes / scale
    return f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"
