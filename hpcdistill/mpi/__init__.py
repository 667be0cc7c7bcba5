"""MPI: the runtime (the only place with COMM_WORLD), every collective call, and index arithmetic."""
