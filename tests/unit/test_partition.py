from hypothesis import given
from hypothesis import strategies as st

from hpcdistill.mpi.partition import block_range, chunk_ranges, square_tiles


@given(st.integers(0, 200), st.integers(1, 40))
def test_block_ranges_cover_everything_once(n, size):
    ranges = [block_range(n, size, rank) for rank in range(size)]
    assert [i for a, b in ranges for i in range(a, b)] == list(range(n))
    lengths = [b - a for a, b in ranges]
    assert max(lengths) - min(lengths) <= 1


@given(st.integers(0, 100), st.integers(1, 30))
def test_chunks_cover_everything_once(n, length):
    assert [i for a, b in chunk_ranges(n, length) for i in range(a, b)] == list(range(n))


@given(st.integers(1, 25), st.integers(1, 30))
def test_lower_tiles_and_their_mirror_images_cover_the_square_once(n, tile):
    count = [[0] * n for _ in range(n)]
    for (a, b), (c, d) in square_tiles(n, tile, lower=True):
        for i in range(a, b):
            for j in range(c, d):
                count[i][j] += 1
                if (a, b) != (c, d):
                    count[j][i] += 1
    assert all(x == 1 for row in count for x in row)
    assert sum((b - a) * (d - c) for (a, b), (c, d) in square_tiles(n, tile, lower=False)) == n * n
