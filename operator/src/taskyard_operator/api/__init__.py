"""Taskyard's Kubernetes resources: the one source of the CRDs, the chart's copies and the operator's types.

Everything here is pure: models, names and text, no I/O (:mod:`.generate` alone writes files, run by hand).
"""
