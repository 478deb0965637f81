import urllib.error
import urllib.request

from django.contrib.auth import get_user_model
from django.core.mail import send_mail

from taskyard import shared_task
from taskyard.signals import task_failure

User = get_user_model()


@shared_task
def send_welcome_email(user_id):
    user = User.objects.get(id=user_id)
    send_mail(
        subject="Welcome", message="Good to see you.", from_email="a@example.com", recipient_list=[user.email]
    )


@shared_task(bind=True, max_retries=3)
def fetch_data(self, url):
    try:
        urllib.request.urlopen(url, timeout=1)
    except urllib.error.URLError as exc:
        raise self.retry(exc=exc, countdown=0.05)


@shared_task
def step(value, more=1):
    return value + more


@shared_task
def collect(values):
    return values


@shared_task
def load():
    return "loaded"


@task_failure.connect
def handle_failure(sender=None, task_id=None, exception=None, **kwargs):
    print(f"task {sender.name} has failed: {type(exception).__name__}", flush=True)
