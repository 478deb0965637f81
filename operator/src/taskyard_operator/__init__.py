"""The Kubernetes operator that runs Taskyard."""
