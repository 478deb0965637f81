"""Result stores, each in Celery's own stored format; imported by result/opening.py when a URL names them."""
