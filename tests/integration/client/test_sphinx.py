"""A project's documentation with its tasks in it, built by Sphinx itself."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

FILES = {
    "conf.py": 'import sys\nsys.path.insert(0, ".")\nextensions = ["{package}.contrib.sphinx"]\n',
    "other.py": """
from {package} import {app}

app = {app}("other")

@app.task
def elsewhere():
    '''Imported only.'''
""",
    "shop.py": """
from {package} import {app}, shared_task
from other import elsewhere

app = {app}("shop")

@app.task(bind=True)
def order(self, number: int, gift=False):
    '''Order something.'''

@shared_task
def refund(number):
    '''Give the money back.'''

def plain():
    '''No task.'''
""",
    "index.rst": """
Shop
====

.. automodule:: shop
   :members:

See :task:`shop.order`.

.. task:: by.hand(x)
""",
    "manual.rst": """
:orphan:

.. autotask:: other.elsewhere
""",
}


class _Text(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self._parts: list[str] = []
        self.feed(page)
        self.text = " ".join("".join(self._parts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attrs if tag == "a" and name == "href" and value]

    def handle_data(self, data: str) -> None:
        self._parts.append(data)


@pytest.mark.parametrize(
    ("package", "app", "start"),
    [
        ("taskyard", "App", "import runpy"),
        ("celery", "Celery", "import runpy; from taskyard import as_celery; as_celery.install()"),
    ],
)
def test_tasks_are_documented_as_what_they_are(tmp_path: Path, package: str, app: str, start: str) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text.replace("{package}", package).replace("{app}", app))
    arguments = ["sphinx-build", "-q", "-W", "-b", "html", ".", "out"]
    program = f"import sys; {start}; sys.argv = {arguments!r}; runpy.run_module('sphinx', alter_sys=True)"
    built = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    page = _Text((tmp_path / "out" / "index.html").read_text())
    assert "(task) shop.order(number: int, gift=False)" in page.text
    assert "Order something." in page.text
    assert "(task) shop.refund(number)" in page.text
    assert "(task) by.hand(x)" in page.text
    assert "shop.plain()" in page.text
    assert "(task) shop.plain" not in page.text
    assert "Imported only." not in page.text
    # The permanent link of the task itself, and the reference to it.
    assert page.links.count("#shop.order") == 2
    manual = _Text((tmp_path / "out" / "manual.html").read_text())
    assert "(task) other.elsewhere()" in manual.text
