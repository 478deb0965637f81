"""The worker's parent process: broker connection, flow, settlement, signals, health; it never runs a task
itself.
"""
