"""The tests, and the cluster that they run on."""
