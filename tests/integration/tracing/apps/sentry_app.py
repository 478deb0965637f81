"""A program for Celery that reports to Sentry; nothing in it knows Taskyard."""

import os

import sentry_sdk
from celery import Celery
from sentry_sdk.integrations.celery import CeleryIntegration

sentry_sdk.init(
    dsn=os.environ["DSN"],
    integrations=[CeleryIntegration()],
    traces_sample_rate=1.0,
    send_default_pii=True,
    shutdown_timeout=60,
    # The collector of the test reads plain JSON.
    _experiments={"transport_compression_level": 0},
)

app = Celery("sentry_app", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])


@app.task
def divide(x, y):
    return x / y


@app.task(bind=True, max_retries=1)
def again(self):
    if not self.request.retries:
        raise self.retry(countdown=0.05)
    return sentry_sdk.get_current_scope().trace_propagation_meta() is not None


def main():
    with sentry_sdk.start_transaction(name="the client"):
        trace = sentry_sdk.get_traceparent().partition("-")[0]
        try:
            divide.delay(1, 0).get(timeout=60)
        except ZeroDivisionError:
            print(trace)
        assert divide.delay(4, 2).get(timeout=60) == 2
        assert again.delay().get(timeout=60)
    sentry_sdk.flush()
