import os

from taskyard import App as Celery

app = Celery("hello", broker=os.environ["BROKER"])


@app.task
def hello():
    return "hello world"
