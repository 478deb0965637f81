from fastapi import FastAPI
from llm_tasks import slow_add

app = FastAPI()


@app.get("/add")
def add(x: int, y: int):
    task = slow_add.delay(x, y)
    return {"task_id": task.id, "status": "processing"}
