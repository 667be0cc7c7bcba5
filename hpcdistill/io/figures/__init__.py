"""Charts as SVG, from plain arrays and words. No MPI, no JAX, no window: matplotlib's Figure, never its pyplot."""
