"""A real Kubernetes for the tests, wherever they run.

Three providers stand behind one interface (see provider.py): ``kind`` where a Docker engine answers,
``local`` on Linux as root without Docker, and ``existing`` for whatever $KUBECONFIG points to. Only the
standard library is used, so that the cluster can start before anything else is installed.
"""
