"""task_routes: which router answers, and with what."""

import re
import sys
import types
from typing import Any

import pytest
from kombu import Queue

from taskyard.client.routes import Routes
from taskyard.errors import ImproperlyConfigured


@pytest.mark.parametrize(
    ("setting", "name", "expected"),
    [
        (None, "a", {}),
        ({"a": "fast"}, "a", {"queue": "fast"}),
        ({"a": "fast"}, "b", {}),
        ({"a": {"queue": "fast", "priority": 3}}, "a", {"queue": "fast", "priority": 3}),
        ({"video.*": "video"}, "video.encode", {"queue": "video"}),
        ({"video.*": "video"}, "a.video.encode", {}),
        ({"*.encode": "glob", "video.encode": "exact"}, "video.encode", {"queue": "exact"}),
        ([("a.*", "first"), ("a.b", "second")], "a.b", {"queue": "second"}),
        ([("a.*", "first"), ("a.b*", "second")], "a.bc", {"queue": "first"}),
        ([[("a.*", "nested")], {"b": "map"}], "b", {"queue": "map"}),
        (([("a.*", "nested")],), "a.x", {"queue": "nested"}),
        ({re.compile(r"(video|image)\..*"): "media"}, "image.crop", {"queue": "media"}),
        (
            [(re.compile("^x"), {"exchange": "e", "routing_key": "k"})],
            "xy",
            {"exchange": "e", "routing_key": "k"},
        ),
        ([{"a": "one"}, {"a": "two", "b": "two"}], "b", {"queue": "two"}),
    ],
)
def test_maps(setting: Any, name: str, expected: dict[str, Any]) -> None:
    routes = Routes(setting)
    assert routes.by_name
    assert routes.lookup(name) == expected


def test_functions_see_the_whole_call_and_the_first_answer_counts() -> None:
    seen: list[Any] = []

    def silent(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **more: Any) -> None:
        seen.append((name, args, kwargs, options, task))

    def by_argument(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:
        return f"shard{args[0] % 2}"

    routes = Routes((silent, by_argument, {"t": "never"}))
    assert not routes.by_name
    assert routes.lookup("t", (3,), {"k": 1}, {"priority": 1}, "the task") == {"queue": "shard1"}
    assert seen == [("t", (3,), {"k": 1}, {"priority": 1}, "the task")]


def test_classes_objects_and_dotted_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    class Router:
        def route_for_task(self, task: str, args: Any = None, kwargs: Any = None) -> Any:
            return {"queue": "from-class"} if task == "t" else None

    def function(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:
        return "from-function"

    module = types.ModuleType("my_routers")
    module.Router, module.function = Router, function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_routers", module)
    for each in (Router, Router(), "my_routers.Router", "my_routers:Router", ["my_routers.Router"]):
        assert Routes(each).lookup("t") == {"queue": "from-class"}
        assert Routes(each).lookup("other") == {}
    assert Routes(["my_routers.Router", "my_routers.function"]).lookup("other") == {"queue": "from-function"}


def test_an_answer_may_be_a_queue_itself() -> None:
    queue = Queue("q")
    assert Routes({"t": queue}).lookup("t") == {"queue": queue}


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"t": 7}, r"task_routes\['t'\] must be a queue name or a dict"),
        ([7], "is no router"),
        ([[("a", "b", "c")]], "must be a pair"),
    ],
)
def test_what_is_no_router_is_refused(setting: Any, complaint: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=complaint):
        Routes(setting)


def test_a_path_that_leads_nowhere_is_named_when_it_is_needed() -> None:
    routes = Routes("no.such.module.router")
    with pytest.raises(ImproperlyConfigured, match=r"no\.such\.module\.router"):
        routes.lookup("t")
