import os, signal, time
import pytest
from taskyard import App
from tests.brokers.redis import RedisServer
from tests.integration.worker.harness import Broker, StartWorker, freeze, wait_until

def test_silent(start_worker):
    with RedisServer() as server:
        broker = Broker("redis", server.url, "")
        worker = start_worker(broker, backend=None)
        client = App("c", broker=server.url)
        client.send_task("jobs.begin_and_mark", ("x", 60.0))
        wait_until(lambda: worker.ran()==["begin x"])
        try:
            freeze(server.pid)
            t=time.monotonic()
            worker.signal(signal.SIGTERM)
            time.sleep(1)
            worker.signal(signal.SIGTERM)
            code = worker.wait(100)
            print("ended", code, time.monotonic()-t)
            print(worker.text())
        finally:
            os.kill(server.pid, signal.SIGCONT)

def test_silent_warm(start_worker):
    with RedisServer() as server:
        broker = Broker("redis", server.url, "")
        worker = start_worker(broker, backend=None)
        try:
            freeze(server.pid)
            t=time.monotonic()
            worker.signal(signal.SIGTERM)
            code = worker.wait(100)
            print("ended", code, time.monotonic()-t)
            print(worker.text())
        finally:
            os.kill(server.pid, signal.SIGCONT)
