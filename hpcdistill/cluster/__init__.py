"""Jobs: profiles of clusters, submission through submitit, states and progress. Needs neither MPI nor JAX."""
