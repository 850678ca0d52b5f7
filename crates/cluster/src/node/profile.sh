# Nodes of a cluster share this machine's processors: ranks bound to the first of each node would
# all be bound to the same one.
export OMPI_MCA_hwloc_base_binding_policy=none
export PRTE_MCA_hwloc_default_binding_policy=none
