"""App: the current one, shared tasks, finalization, discovery, and apps as values."""

from __future__ import annotations

import copy
import os
import pickle
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from taskyard import App, Task, current_app, current_task, shared, shared_task
from taskyard.errors import AlreadyRegistered, DuplicateTaskNameWarning, NotRegistered
from taskyard.local import Proxy


@shared_task
def shared_add(x: int, y: int) -> int:
    return x + y


def test_the_current_app_is_of_the_thread_then_the_default_then_any(app: App) -> None:
    assert current_app == app
    assert isinstance(current_app, App)
    other = App("other")
    assert current_app.main == "other"
    app.set_current()
    seen: list[Any] = []

    def look() -> None:
        seen.append(shared.get_current_app())
        other.set_default()
        seen.append(shared.get_current_app())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [app, other], "a thread without an app sees the one that another has made current"
    assert current_app == app


def test_without_any_app_there_is_a_fallback(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_tls", shared._Tls())
    monkeypatch.setattr(shared, "_made_current", None)
    shared.set_default_app(None)
    assert shared.get_current_app().main == "default"
    assert shared.get_current_app() is shared.get_current_app()


def test_shared_tasks_belong_to_every_app(app: App) -> None:
    other = App("other", set_as_current=False)
    assert shared_add.app is app
    assert app.tasks[shared_add.name] is not other.tasks[shared_add.name]
    other.set_current()
    assert shared_add.app is other
    assert shared_add(1, 2) == 3
    with pytest.raises(TypeError, match="more than once"):
        shared_task(shared_add)

    @shared_task(name="late.task", max_retries=9)
    def late() -> None:
        pass

    assert (late.max_retries, app.tasks["late.task"].max_retries) == (9, 9)


def test_tasks_of_one_app_are_shared_unless_told_not(app: App) -> None:
    app.task(name="unit.everywhere")(lambda: 1)
    app.task(name="unit.here", shared=False)(lambda: 2)
    other = App("other", set_as_current=False)
    other.task(name="unit.everywhere", shared=False)(lambda: 3)
    assert other.tasks["unit.everywhere"]() == 3, "an app's own task keeps its name"
    assert App("third", set_as_current=False).tasks["unit.everywhere"]() == 1
    with pytest.raises(NotRegistered):
        other.tasks["unit.here"]


def test_finalizing_binds_tasks_and_adds_the_built_in_ones(app: App) -> None:
    seen: list[Any] = []
    app.on_after_finalize.connect(lambda sender, **_: seen.append(sender), weak=False)
    task = app.task(name="unit.bound", shared=False)(lambda: None)
    app.conf.task_time_limit = 7
    assert not app.finalized
    assert "celery.accumulate" in app.tasks
    assert seen == [app]
    assert (task.time_limit, task.acks_late, task.serializer) == (7, True, "json")
    app.conf.task_time_limit = 8
    assert task.time_limit == 7
    strict = App("strict", autofinalize=False, set_as_current=False)
    with pytest.raises(RuntimeError, match="finalize"):
        _ = strict.tasks
    strict.finalize()
    assert strict.tasks


def test_names(app: App) -> None:
    assert app.gen_task_name("f", "pkg.mod") == "pkg.mod.f"
    assert app.gen_task_name("f", "__main__") == "unit.f"

    def twice() -> None:
        pass

    first = app.task(name="unit.clash", shared=False)(lambda: None)
    with pytest.raises(AlreadyRegistered, match=r"unit\.clash"):
        app.task(name="unit.clash", shared=False)(twice)
    lax = App("lax", strict_settings=False, set_as_current=False)
    kept = lax.task(name="unit.clash", shared=False)(lambda: None)
    with pytest.warns(DuplicateTaskNameWarning, match=r"unit\.clash"):
        assert lax.task(name="unit.clash", shared=False)(twice) is kept
    assert first is app.tasks["unit.clash"]


def test_the_apps_own_base_classes(app: App) -> None:
    class Base(Task[..., Any]):
        marker = "base"

        def on_success(self, *args: Any) -> None:
            pass

    custom = App("custom", task_cls=Base, set_as_current=False)
    task = custom.task(name="unit.custom", shared=False)(lambda: None)
    assert isinstance(task, Base)
    assert task.marker == "base"
    by_path = App("path", task_cls=f"{Task.__module__}:Task", set_as_current=False)
    assert issubclass(by_path.Task, Task)
    assert by_path.Task.app is by_path

    class Sum(app.Task):  # type: ignore[misc, name-defined]
        name = "unit.sum"
        queue = "sums"

        def run(self, *numbers: int) -> int:
            return sum(numbers)

    registered = app.register_task(Sum)
    assert (registered(1, 2), registered.queue, registered.app) == (3, "sums", app)


def test_apps_tasks_and_results_pickle_by_reference(app: App) -> None:
    app.conf.task_default_queue = "pickled"
    app.config_from_object({"result_expires": 9})
    twin = pickle.loads(pickle.dumps(app))
    assert (twin.main, twin.conf.task_default_queue, twin.conf.result_expires) == ("unit", "pickled", 9)
    assert current_app == app
    assert copy.copy(app).conf.task_default_queue == "pickled"
    task = app.tasks[shared_add.name]
    assert pickle.loads(pickle.dumps(task)) is task
    assert pickle.loads(pickle.dumps(shared_add)) is task
    result = app.AsyncResult("an-id")
    again = pickle.loads(pickle.dumps(result))
    assert isinstance(result, app.AsyncResult)
    assert (again, type(again), again.app) == (result, app.AsyncResult, app)


def test_discovery_imports_the_tasks_modules(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package, text in (("unit_one", "LOADED = True"), ("unit_two", None)):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        if text:
            (tmp_path / package / "tasks.py").write_text(text)
    (tmp_path / "unit_broken").mkdir()
    (tmp_path / "unit_broken" / "__init__.py").touch()
    (tmp_path / "unit_broken" / "tasks.py").write_text("import unit_nothing_of_that_name")
    monkeypatch.syspath_prepend(tmp_path)
    app.autodiscover_tasks(lambda: ["unit_one", "unit_two"])
    assert "unit_one.tasks" not in sys.modules
    app.conf.imports = ["unit_two"]
    assert [module.__name__ for module in app.loader.import_default_modules()] == ["unit_two"]
    assert sys.modules["unit_one.tasks"].LOADED
    with pytest.raises(ModuleNotFoundError, match="unit_nothing_of_that_name"):
        app.autodiscover_tasks(["unit_broken"], force=True)


def test_annotations_change_tasks(app: App) -> None:
    class ByClass:
        def annotate_any(self) -> dict[str, Any]:
            return {"priority": 3}

    def twice(run: Any) -> Any:
        return lambda *args: 2 * run(*args)

    app.conf.task_annotations = [{"unit.annotated": {"rate_limit": "1/m", "@run": twice}}, ByClass()]
    annotated = app.task(name="unit.annotated", shared=False)(lambda x: x)
    other = app.task(name="unit.other", shared=False)(lambda x: x)
    app.finalize()
    assert (annotated.rate_limit, annotated.priority, other.rate_limit, other.priority) == ("1/m", 3, None, 3)
    assert (annotated(4), other(4)) == (8, 4)


def test_bugreport_tells_versions_and_no_secrets(app: App) -> None:
    app.conf.result_backend = "redis://:hush@host/0"
    report = app.bugreport()
    assert "taskyard:" in report
    assert "hush" not in report
    assert "settings -> transport:memory results:redis://:********@host/0" in report
    from taskyard.app import bugreport

    assert bugreport(app) == report


def test_a_proxy_is_what_it_stands_for() -> None:
    values = [{"a": 1}]
    proxy: Any = Proxy(lambda: values[0])
    assert (proxy["a"], len(proxy), "a" in proxy, list(proxy), proxy == {"a": 1}) == (1, 1, True, ["a"], True)
    assert isinstance(proxy, dict)
    values[0] = {}
    assert not proxy
    assert not current_task
    assert repr(current_task) == "None"


def test_a_module_written_for_the_apps_own_settings(app: App) -> None:
    module = ModuleType("unit_settings")
    module.task_serializer = "yaml"  # type: ignore[attr-defined]
    app.config_from_object(module)
    assert app.conf.task_serializer == "yaml"


def test_closing_forgets_the_app() -> None:
    with App("closed", set_as_current=False) as app:
        assert app in shared._get_active_apps()
    assert app not in shared._get_active_apps()


def test_a_forked_process_is_told(app: App) -> None:
    told: list[bool] = []

    @app.on_after_fork.connect
    def receiver(sender: App, **kwargs: Any) -> None:
        told.append(sender is app)

    oid = app.oid
    child = os.fork()
    if not child:
        os._exit(0 if told == [True] and app.oid != oid else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (told, app.oid) == ([], oid)
