"""Tasks of this application; they know no app, so they belong to whichever is current."""

from django.core.mail import send_mail

from taskyard import shared_task

from .models import Member


@shared_task(autoretry_for=(OSError,), retry_backoff=True, max_retries=5)
def send_welcome(member_id: int) -> str:
    """Mail a new member; a second run of the same message changes nothing."""
    member = Member.objects.get(id=member_id)
    if not member.welcomed:
        send_mail("Welcome", "It is good to have you here.", "shop@example.com", [member.email])
        member.welcomed = True
        member.save(update_fields=["welcomed"])
    return str(member.email)


@shared_task
def forget_silent() -> int:
    """Remove members whose address never took a mail; returns how many."""
    return int(Member.objects.filter(welcomed=False).delete()[0])
