# The first process of an enclave. It holds the enclave's namespaces, adopts what is left without
# a parent in them, and lives as long as the other end of its input: that of the process which
# started it. With it the kernel ends every process of the enclave.
echo ready
exec >/dev/null 2>&1
cat
