"""Where tasks run: child processes (prefork) or one thread of the worker's own process (solo)."""
