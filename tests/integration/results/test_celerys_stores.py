"""Result stores as they are written for Celery, its own among them, on our base of the same name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

PROGRAM = """
import pickle
from taskyard import as_celery
as_celery.install()
from celery import Celery
from theirs_database import DatabaseBackend
from theirs_filesystem import FilesystemBackend

app = Celery("x", broker="memory://", result_expires=3600)
app.set_current()
files = FilesystemBackend(app=app, url="file://{path}")
for store in (files, DatabaseBackend("sqlite:///{path}/db", app=app)):
    store.mark_as_done("1", {{"a": [1]}})
    store.mark_as_failure("2", KeyError("no"), traceback="text")
    result = app.AsyncResult("1", backend=store)
    assert result.get(timeout=60) == {{"a": [1]}}, result.info
    assert isinstance(store.get_result("2"), KeyError)
    assert store.get_state("nobody") == "PENDING"
    app.GroupResult("g", [result]).save(backend=store)
    assert app.GroupResult.restore("g", backend=store).results == [result]
    again = pickle.loads(pickle.dumps(store))
    assert again.get_traceback("2") == "text"
    store.cleanup()
    result.forget()
    assert store.task_result_exists("2") and not store.task_result_exists("1")
"""


def test_celerys_own_stores_work_on_our_base(tmp_path: Path) -> None:
    spec = find_spec("celery.backends")
    assert spec is not None
    (theirs,) = map(Path, spec.submodule_search_locations or ())
    shutil.copytree(theirs / "database", tmp_path / "theirs_database")
    file = (theirs / "filesystem.py").read_text()
    (tmp_path / "theirs_filesystem.py").write_text(file.replace("from .base", "from celery.backends.base"))
    for module in (tmp_path / "theirs_database").glob("*.py"):
        module.write_text(module.read_text().replace("from ..base", "from celery.backends.base"))
    (tmp_path / "program.py").write_text(PROGRAM.format(path=tmp_path))
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
