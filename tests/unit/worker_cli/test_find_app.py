from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskyard.cli.find_app import find_app
from taskyard.errors import ImproperlyConfigured

APP = 'from taskyard import App\n\n{name} = App("found", broker="memory://", set_as_current=False)\n'


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("shop", "single"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("file", "attribute", "name"),
    [
        ("single.py", "app", "single"),
        ("single.py", "app", "single.py"),
        ("single.py", "mine", "single"),
        ("single.py", "mine", "single:mine"),
        ("single.py", "mine", "single.mine"),
        ("shop/__init__.py", "celery_app", "shop"),
        ("shop/celery.py", "app", "shop"),
        ("shop/celery.py", "app", "shop.celery"),
        ("shop/celery.py", "app", "shop.celery.app"),
        ("shop/taskyard.py", "app", "shop"),
    ],
)
def test_an_app_is_found_by_all_the_names_that_celery_takes(
    place: Path, file: str, attribute: str, name: str
) -> None:
    (place / file).parent.mkdir(exist_ok=True)
    (place / file).parent.joinpath("__init__.py").touch()
    (place / file).write_text(APP.format(name=attribute))
    assert find_app(name).main == "found"


def test_another_program_in_a_package_is_left_alone_where_its_celery_has_the_app(place: Path) -> None:
    (place / "shop").mkdir()
    (place / "shop/__init__.py").touch()
    (place / "shop/app.py").write_text("raise SystemExit('the web server would start')\n")
    (place / "shop/celery.py").write_text(APP.format(name="celery"))
    assert find_app("shop").main == "found"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere", "there is no module 'nowhere'"),
        ("single.nothing", "single has no 'nothing'"),
        ("single:nothing", "'nothing' is missing"),
        ("single:number", "'number' is of type int"),
        ("single.number", "'single.number' is of type int"),
        ("single", "there is no taskyard.App in the module; name it as single:attribute"),
        ("shop", "there is no taskyard.App in the module"),
    ],
)
def test_a_name_without_an_app_is_refused_in_one_line(place: Path, name: str, says: str) -> None:
    (place / "single.py").write_text("number = 1\n")
    (place / "shop").mkdir()
    (place / "shop/__init__.py").touch()
    with pytest.raises(ImproperlyConfigured, match=says):
        find_app(name)
