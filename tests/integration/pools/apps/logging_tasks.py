"""Tasks that log and print."""

from taskyard import App
from taskyard.utils.log import get_task_logger

app = App("logging_tasks")
logger = get_task_logger(__name__)


@app.task
def talk() -> None:
    logger.info("said")
    print("printed")
