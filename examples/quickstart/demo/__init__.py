"""The demo behind ``make demo``: a cluster, Taskyard on it, 300 tasks through it, and the proof."""
