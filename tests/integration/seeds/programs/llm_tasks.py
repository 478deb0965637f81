from celery_app import celery_app


@celery_app.task
def slow_add(x, y):
    import time

    time.sleep(0.1)
    return x + y
