"""Talking to worker pods."""
