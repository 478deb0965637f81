"""Passes over one resource at a time: observe, plan, apply; and the queue that decides when."""
