import os

from taskyard import App as Celery

celery_app = Celery("worker", broker=os.environ["BROKER"], backend=os.environ["RESULTS"])
