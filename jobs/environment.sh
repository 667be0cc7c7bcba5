# Source this in a shell to use what jobs/setup.sh installed: `. jobs/environment.sh`
HPCDISTILL_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export HPCDISTILL_HOME
# shellcheck disable=SC1091
. "$HPCDISTILL_HOME/.venv/bin/activate"
[ -f "$HPCDISTILL_HOME/.venv/mpi-path" ] && PATH="$PATH:$(cat "$HPCDISTILL_HOME/.venv/mpi-path")"
export PATH
# Open MPI refuses root, and more ranks than cores, unless told that both are meant (containers, tests on a laptop). From
# version 5 on its launcher is PRRTE, which does not heed the variables of version 4.
if [ "$(id -u)" = 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
export OMPI_MCA_rmaps_base_oversubscribe="${OMPI_MCA_rmaps_base_oversubscribe:-1}"
export PRTE_MCA_rmaps_default_mapping_policy="${PRTE_MCA_rmaps_default_mapping_policy:-:oversubscribe}"
# JAX drives no GPU here: its preallocation would take the memory the kernels need.
export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}"
# Leave binding to the caller: with Open MPI's default a single rank would be held on one core.
export OMPI_MCA_hwloc_base_binding_policy="${OMPI_MCA_hwloc_base_binding_policy:-none}"
export PRTE_MCA_hwloc_default_binding_policy="${PRTE_MCA_hwloc_default_binding_policy:-none}"
