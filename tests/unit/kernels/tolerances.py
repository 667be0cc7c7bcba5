"""How far a result may be from the reference, relative to the largest entry, by dtype: two to five times what is seen.

Seen on x86-64 with AVX-512, NumPy 2.4, JAX 0.10.2.
"""

import numpy as np

_DOUBLE, _SINGLE = np.dtype(np.float64), np.dtype(np.float32)

# Random images, networks of up to 10 layers, against the recursion (and its differences) in long double.
BLOCK = {_DOUBLE: 2e-15, _SINGLE: 1.5e-6}
VJP = {_DOUBLE: 6e-14, _SINGLE: 4e-6}

# Equal images that the backend knows to be equal.
BLOCK_SAME = {_DOUBLE: 2e-15, _SINGLE: 1e-6}

# Equal images that it does not know to be equal (another prepared set; `tangents` always). The angle of such a pair
# is the square root of the rounding of its cosine. The differences are exact to 3e-8 there.
BLOCK_COPY = {_DOUBLE: 3e-8, _SINGLE: 2e-3}
VJP_SAME = {_DOUBLE: 1e-7, _SINGLE: 2e-3}

# Another order of summation: a tile against the slice of the whole block.
SLICE = {_DOUBLE: 2e-15, _SINGLE: 1e-6}

# neural-tangents in float64.
PEER = {_DOUBLE: 4e-15, _SINGLE: 2e-6}
