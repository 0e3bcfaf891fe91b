"""Ray: start or join a cluster, and run tasks on it."""
