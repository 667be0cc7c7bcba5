"""A distilled set in files that others read: NumPy arrays and a contact sheet. Needs no MPI."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.io.preprocess_file import StoredZca
from hpcdistill.io.support_origin import support_classes, support_start
from hpcdistill.method import described

#: Images per row of a contact sheet, and how many are shown at most in each half.
_COLUMNS, _MOST = 10, 100
#: Side of an enlarged image and the room for the text below it, in pixels.
_SIDE, _CAPTION, _GAP, _TITLE = 64, 14, 4, 26


def export_npz(checkpoint: Checkpoint, file: BinaryIO, zca: StoredZca | None) -> None:
    """Write the support set and what is needed to use it as a compressed `.npz`.

    Arrays: `images` `(n,h,w,c)` uint8 as they look, `images_preprocessed` float64, `labels` `(n,classes)`,
    `source_index`, `mean`, `std`, `display_range`, `history_*`, `config` (TOML), `class_names`, `step`; with ZCA
    `zca_matrix` `(d,d)` float64, `zca_reg`, `zca_display_norm`. `hpcdistill.load` needs nothing else.

    Args:
        zca: the run's ZCA matrix, if it has one.

    Raises:
        CheckpointError: an array is missing.
    """
    exported = {
        "images": checkpoint.images("support/images_display"),
        "images_preprocessed": checkpoint.images("support/images"),
        "labels": checkpoint.array("support/labels"),
        "source_index": checkpoint.array("support/source_index"),
        "mean": checkpoint.array("preprocess/mean"),
        "std": checkpoint.array("preprocess/std"),
        "display_range": checkpoint.array("preprocess/display_range"),
        "step": np.array(checkpoint.attribute("step")),
        "config": np.array(checkpoint.attribute("config")),
        "class_names": np.array(checkpoint.class_names()),
    }
    exported |= {f"history_{name}": column for name, column in checkpoint.history().items()}
    if zca is not None:
        exported |= {"zca_matrix": zca.matrix, "zca_reg": np.array(zca.reg),
                     "zca_display_norm": np.array(zca.display_norm)}  # fmt: skip
    np.savez_compressed(file, allow_pickle=False, **exported)


def export_png(checkpoint: Checkpoint, file: BinaryIO) -> None:
    """Write a contact sheet as PNG: the images that the run started from above, the support now below.

    Raises:
        CheckpointError: an array is missing.
    """
    learned = described(checkpoint.attribute("method")).learns_images
    now = f"distilled, step {checkpoint.attribute('step')}" if learned else "support"
    titles = {"initial_display": support_start(checkpoint), "images_display": now}
    contact_sheet(checkpoint, titles).save(file, format="PNG")


def contact_sheet(checkpoint: Checkpoint, titles: Mapping[str, str]) -> Image.Image:
    """Return some of a support's images, enlarged, with the classes that they were drawn from.

    Args:
        titles: of the arrays below /support to show, one above the other.

    Raises:
        CheckpointError: an array is missing.
    """
    names = checkpoint.class_names()
    captions = [names[k] for k in support_classes(checkpoint)]
    panels = [panel(checkpoint.images(f"support/{name}"), captions, title) for name, title in titles.items()]
    sheet = Image.new("RGB", (max(one.width for one in panels), sum(one.height for one in panels)), "white")
    top = 0
    for one in panels:
        sheet.paste(one, (0, top))
        top += one.height
    return sheet


def panel(images: np.ndarray, captions: list[str], title: str) -> Image.Image:
    """Return up to 100 images `(n, h, w, c)` uint8, enlarged, each with its caption, below a title."""
    count = min(len(images), _MOST)
    n_rows, columns = -(-count // _COLUMNS), min(count, _COLUMNS)
    width, height = _SIDE + _GAP, _SIDE + _CAPTION + _GAP
    title += f" (first {count} of {len(images)})" if count < len(images) else ""
    font = _font(14)
    whole = max(columns * width + _GAP, round(font.getlength(title)) + 2 * _GAP)
    sheet = Image.new("RGB", (whole, _TITLE + n_rows * height + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 5), title, fill="black", font=font)
    for i in range(count):
        x, y = _GAP + i % _COLUMNS * width, _TITLE + i // _COLUMNS * height
        sheet.paste(_enlarge(images[i]), (x, y))
        draw.text((x + 1, y + _SIDE), captions[i][:11], fill="black", font=_font(10))
    return sheet


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Return a font with the letters of most alphabets, which Pillow's own lacks: the one that figures have."""
    import matplotlib

    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", size - 1)


def _enlarge(image: np.ndarray) -> Image.Image:
    """Return one image `(h, w, c)` as RGB of the sheet's size, pixels kept as squares; grey unless c is 3."""
    grey = np.rint(image.mean(axis=-1, keepdims=True)).astype(np.uint8)
    rgb = image if image.shape[-1] == 3 else np.repeat(grey, 3, axis=-1)
    picture = Image.fromarray(np.ascontiguousarray(rgb), "RGB")
    scale = _SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    framed = Image.new("RGB", (_SIDE, _SIDE), "white")
    framed.paste(picture.resize(size, Image.Resampling.NEAREST), (0, 0))
    return framed
