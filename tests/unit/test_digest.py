"""Digests of arrays: equal for equal content, wherever it lies in memory."""

import numpy as np

from hpcdistill.digest import sha256_of

X = np.arange(24.0).reshape(2, 3, 4)


def test_layout_does_not_matter():
    assert sha256_of(X) == sha256_of(np.asfortranarray(X)) == sha256_of(np.repeat(X, 2, axis=0)[::2])


def test_type_shape_content_and_order_do():
    others = [X.astype(np.float32), X.reshape(3, 2, 4), X + 1e-15 * X, X[:1]]
    assert len({sha256_of(array) for array in (X, *others)}) == 5
    assert sha256_of(X, X[:1]) != sha256_of(X[:1], X)
