"""Sending: where a task goes (router), how it gets there (producer), what follows it (signature)."""
