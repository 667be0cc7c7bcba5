"""Draw the labels of a checkpoint, as its report has them.

usage: python docs/pictures/labels.py CHECKPOINT.h5 FILE.svg
"""

import sys
from pathlib import Path

from hpcdistill.io.checkpoint import read_checkpoint
from hpcdistill.io.figures.labels import Labels, label_bars
from hpcdistill.io.figures.style import house_style
from hpcdistill.io.report.facts import Facts

facts = Facts(read_checkpoint(Path(sys.argv[1])))
display = facts.checkpoint.images("support/images_display")
with house_style():
    drawn = label_bars(Labels(facts.labels, facts.original_labels, display, facts.class_names, facts.method.labels))
Path(sys.argv[2]).write_bytes(drawn)
