"""Databases and caches of the tests' own."""
