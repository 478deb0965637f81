from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from .models import Member
from .tasks import send_welcome


@csrf_exempt
@transaction.atomic
def signup(request: HttpRequest) -> JsonResponse:
    member = Member.objects.create(email=request.POST["email"])
    # Not before the commit: the worker would look for a member that is not there yet.
    send_welcome.delay_on_commit(member.id)
    if member.email.endswith("@spam.example"):
        transaction.set_rollback(True)
        return JsonResponse({"error": "no, thank you"}, status=400)
    return JsonResponse({"member": member.id}, status=201)
