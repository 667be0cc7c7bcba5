"""Checkpoints that the tests' own runs have written: read in this process, as nothing in them can be harmful."""

from functools import partial

from hpcdistill.io.checkpoint import read_checkpoint

read_own = partial(read_checkpoint, apart=False)
