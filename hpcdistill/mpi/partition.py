"""Who owns what: arithmetic on rank and size. Nothing here communicates."""

from __future__ import annotations

from collections.abc import Iterator

Range = tuple[int, int]

#: Elements of an array that travel in one message. 2^27 float64 are 1 GiB.
PIECE_ELEMENTS = 2**27
#: The same on the way from one GPU to another through the host: 64 MiB of float64.
STAGED_ELEMENTS = 2**23
#: An evaluation can be left, and a chunk of Label Solve tells how far it is, after so many kernel entries per rank, but
#: not after fewer rows than the second number (a block of few rows is slow) and not after more than the third (memory).
EVALUATION_ENTRIES, FEWEST_ROWS, MOST_ROWS = 2**15, 64, 2048
#: The same where a kernel is quick (`is_quick` of its backend).
QUICK_EVALUATION_ENTRIES = 2**21
#: A chunk of Label Solve is cut into about so many pieces, unless they would be very small or very large.
PIECES = 128
#: Where a kernel is quick, into pieces of so many entries: smaller ones take longer to put together than to compute.
QUICK_PIECE_ENTRIES = 2**18


def block_range(n: int, size: int, rank: int) -> Range:
    """Return the half-open range of `n` items that `rank` of `size` owns.

    Ranges are contiguous, in rank order, cover `0…n`, and differ in length by one at most; the longer ones come first.
    With more ranks than items the last ranks own nothing.
    """
    share, extra = divmod(n, size)
    start = rank * share + min(rank, extra)
    return start, start + share + (rank < extra)


def chunk_ranges(n: int, length: int) -> Iterator[Range]:
    """Yield half-open ranges of at most `length` items that cover `0…n` in order."""
    for start in range(0, n, length):
        yield start, min(start + length, n)


def square_tiles(n: int, tile: int, *, lower: bool) -> list[tuple[Range, Range]]:
    """Return the tiles `(rows, columns)` of an `n × n` matrix, all or those that touch its lower triangle.

    The list, and so each entry's tile, depends on `n` and `tile` alone, never on the number of ranks.
    """
    ranges = list(chunk_ranges(n, tile))
    return [(r, c) for i, r in enumerate(ranges) for c in ranges[: i + 1 if lower else None]]


def support_tile(n: int) -> int:
    """Return the side of the tiles of an `n × n` support kernel: small enough to share out, not to be slow.

    At least 8, which is a vector of float64: lanes that a tile does not fill cost as much as others.
    """
    return max(8, min(128, -(-n // 4)))


def rows_at_a_time(n: int, *, is_quick: bool = False) -> int:
    """Return how many targets a rank evaluates at a time with a support of `n`: some seconds' worth, at most."""
    return _rows_of(QUICK_EVALUATION_ENTRIES if is_quick else EVALUATION_ENTRIES, n)


def piece_rows(n: int, count: int, *, is_quick: bool = False) -> int:
    """Return how many targets a piece of a chunk of `count` has with a support of `n`: some seconds' worth, at most."""
    if is_quick:
        return _rows_of(QUICK_PIECE_ENTRIES, n)
    return min(rows_at_a_time(n), max(FEWEST_ROWS, -(-count // PIECES)))


def _rows_of(entries: int, n: int) -> int:
    return max(FEWEST_ROWS, min(MOST_ROWS, entries // n))
