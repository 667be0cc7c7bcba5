"""The papers' tables: what each cell's run is, what was published, and what runs here have reached. No MPI, no JAX."""
