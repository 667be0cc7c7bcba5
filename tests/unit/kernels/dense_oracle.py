"""The kernel recursion written out with all pixel pairs, in whatever float type the images have. Slow and plain.

S[i, j, y, x, y', x'] is the covariance of pixel (y, x) of image i with pixel (y', x') of image j, T the tangent kernel.
"""

from pathlib import Path

import numpy as np
from compiled import kept_array


def kept_kernel(architecture, x1, x2):
    """Return the same for images that are the same in every run: it is kept from one run to the next."""
    source = Path(__file__).read_bytes()
    key = [source, np.__version__, architecture, x1.dtype, x1.shape, x2.shape, _bytes(x1), _bytes(x2)]
    return kept_array(key, lambda: kernel(architecture, x1, x2))


def _bytes(x):
    """Return the bytes that count: of the 16 of x86's long double the last 6 are anything."""
    if x.dtype == np.longdouble and np.finfo(x.dtype).nmant == 63:
        x = np.ascontiguousarray(x).reshape(-1).view(np.uint8).reshape(-1, x.dtype.itemsize)[:, :10]
    return np.ascontiguousarray(x).tobytes()


def kernel(architecture, x1, x2):
    """Return K(x1_i, x2_j), (n1, n2); np.longdouble images give a reference beyond float64."""
    w2, b2 = architecture.w_std**2, architecture.b_std**2
    covariances = [np.einsum(f"{k}yxc,{m}abc->{k}{m}yxab", u, v) / x1.shape[-1] for k, m, u, v in _pairs(x1, x2)]
    s, s11, s22 = covariances[0], *(np.einsum("iiyxab->iyxab", c) for c in covariances[1:])
    t = np.zeros_like(s)
    for layer in architecture.layers:
        if layer == "relu":
            v1, v2 = (np.einsum("iyxyx->iyx", c) for c in (s11, s22))
            s, t = _relu(s, t, v1[:, None, :, :, None, None], v2[None, :, None, None])
            s11, s22 = (_relu(c, c, v[..., None, None], v[:, None, None])[0] for c, v in ((s11, v1), (s22, v2)))
        elif layer in ("conv", "dense"):
            box = _box if layer == "conv" else lambda a: a
            s, s11, s22 = (w2 * box(c) + b2 for c in (s, s11, s22))
            t = w2 * box(t) + s
        else:
            s, t, s11, s22 = ({"pool": _pool, "flatten": _flatten, "gap": _gap}[layer](c) for c in (s, t, s11, s22))
    return (t if architecture.kind == "ntk" else s)[:, :, 0, 0, 0, 0]


def _pairs(x1, x2):
    return ("i", "j", x1, x2), ("i", "j", x1, x1), ("i", "j", x2, x2)


def _relu(s, t, v1, v2):
    n = np.sqrt(v1 * v2)
    c = np.divide(s, n, out=np.zeros_like(s), where=n > 0).clip(-1, 1)
    pi = np.arccos(s.dtype.type(-1))
    theta = np.arccos(c)
    return n / (2 * pi) * (np.sqrt(1 - c * c) + c * (pi - theta)), t * (pi - theta) / (2 * pi)


def _box(a):
    h, w = a.shape[-2:]
    p = np.pad(a, [(0, 0)] * (a.ndim - 4) + [(1, 1)] * 4)
    return sum(p[..., i : i + h, j : j + w, i : i + h, j : j + w] for i in range(3) for j in range(3)) / 9


def _pool(a):
    h, w = a.shape[-2] // 2, a.shape[-1] // 2
    a = a[..., : 2 * h, : 2 * w, : 2 * h, : 2 * w].reshape(*a.shape[:-4], h, 2, w, 2, h, 2, w, 2)
    return a.mean(axis=(-7, -5, -3, -1))


def _flatten(a):
    return np.einsum("...yxyx->...", a)[..., None, None, None, None] / (a.shape[-1] * a.shape[-2])


def _gap(a):
    return a.mean(axis=(-4, -3, -2, -1), keepdims=True)
