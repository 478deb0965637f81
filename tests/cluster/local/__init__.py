"""A Kubernetes of bare processes: every node is a set of Linux namespaces, no Docker needed."""
