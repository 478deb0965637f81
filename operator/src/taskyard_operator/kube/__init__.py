"""The Kubernetes API as the operator uses it: a few typed calls over one HTTP session."""
