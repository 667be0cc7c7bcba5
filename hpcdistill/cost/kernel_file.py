"""What `hpcdistill kernel` computes, keeps and writes. Arithmetic alone."""

from __future__ import annotations

from hpcdistill.cost.work import FILE_BESIDES, Images, Phase, Tiles, Work


def kernel_file_work(images: Images, tile: int) -> Work:
    """Return the work of the kernel of all training images with themselves, in a file of float64.

    Args:
        tile: side of its tiles. They are dealt out as ranks become free, about as evenly as in a block-cyclic layout.
    """
    n = images.train
    side = tile * -(-n // tile) if n > tile else n  # a file has whole tiles
    phase = Phase("kernel", 1, tiles=(Tiles(n, block=tile),))
    kept = 8.0 * (3 * tile**2 + 4 * tile * images.pixels)
    return Work(phase, (), lambda place: kept, {"the kernel": 8.0 * side**2 + FILE_BESIDES}, remedy="a smaller --tile")
