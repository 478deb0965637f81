"""Celery's task message: its in-memory form, its wire form (protocol 2, reading 1) and the codecs of
bodies.
"""
