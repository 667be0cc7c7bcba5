"""Make the pictures and the configuration of a tutorial in a folder.

usage: python docs/pictures/tutorial.py PAGE.md FOLDER
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from documents import blocks  # noqa: E402

found = blocks(Path(sys.argv[1]).read_text())
os.chdir(sys.argv[2])
exec(next(block.text for block in found if block.language == "python"))
for block in found:
    if block.language == "toml" and block.title:
        Path(block.title).write_text(block.text)
