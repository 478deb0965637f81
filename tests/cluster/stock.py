"""The images that come with a cluster: a base for Taskyard's own, and the brokers.

With Docker they are the public ones. The local provider builds its own from Debian packages (see
local/images.py): they behave the same as far as a chart or a Dockerfile can tell.
"""

from __future__ import annotations

STOCK = {
    "base": "python:3.12-slim",
    "redis": "redis:7",
    "rabbitmq": "rabbitmq:3-management",
}
