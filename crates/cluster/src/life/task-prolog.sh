#!/bin/sh
# What Slurm prints here as `export` becomes part of a task's environment.
echo export OMPI_MCA_hwloc_base_binding_policy=none
echo export PRTE_MCA_hwloc_default_binding_policy=none
# A node with EFA has the provider that answers to the name; the head node may have none.
if [ -d /run/elastane/libfabric ]; then
    echo export FI_PROVIDER_PATH=/run/elastane/libfabric
fi
