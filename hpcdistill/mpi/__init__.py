"""MPI: the runtime (the only place with COMM_WORLD), every collective call, and index arithmetic.

Importing a module of this package starts MPI, which ends the process without a readable word where ranks cannot find
each other. So that is looked at here, first.
"""

from hpcdistill.launcher import check_launch

check_launch()
