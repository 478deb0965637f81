"""Paths that Celery's users import; the code behind them stands elsewhere."""
