"""The service."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException

from taskyard.contrib.fastapi import TaskyardClient
from taskyard.exceptions import TimeoutError

from .tasks import app, count_words

client = TaskyardClient(app)
api = FastAPI(lifespan=client.lifespan)
Tasks = Annotated[TaskyardClient, Depends(client)]


@api.post("/scans", status_code=202)
async def scan(text: str, tasks: Tasks, seconds: float = 0.0) -> dict[str, str]:
    """Put it on the queue."""
    result = await tasks.send(count_words, text, seconds=seconds)
    return {"task_id": result.id}


@api.get("/scans/{task_id}")
async def status(task_id: str, tasks: Tasks) -> dict[str, Any]:
    """How far it is."""
    return await tasks.status(task_id)


@api.get("/words")
async def words(text: str, tasks: Tasks, wait: float = 10.0) -> dict[str, int]:
    """Put it on the queue and wait; other requests go on meanwhile."""
    result = await tasks.send(count_words, text)
    try:
        found: dict[str, int] = await tasks.result(result, timeout=wait)
    except TimeoutError:
        raise HTTPException(503, f"no worker had time for it in {wait} s") from None
    except ValueError as error:
        raise HTTPException(422, str(error)) from None
    return found
