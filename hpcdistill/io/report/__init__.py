"""One HTML file about one checkpoint, with all its pictures in it. No MPI, no JAX."""
