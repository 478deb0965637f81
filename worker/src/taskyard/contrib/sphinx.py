"""A Sphinx extension: tasks in `automodule`, the directives `task` and `autotask`, the role `:task:`.

    extensions = ["sphinx.ext.autodoc", "taskyard.contrib.sphinx"]

`celery_task_prefix` is what stands before the name of a task ("(task)").  Sphinx 9 documents what extensions
define only by its former way, `autodoc_use_legacy_class_based`, which is switched on here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.domains import ObjType
from sphinx.domains.python import PyFunction, PythonDomain, PyXRefRole
from sphinx.ext.autodoc import FunctionDocumenter

from taskyard import __version__
from taskyard.task import Task

__all__ = ("TaskDirective", "TaskDocumenter", "setup")

_LEGACY = "autodoc_use_legacy_class_based"


class TaskDocumenter(FunctionDocumenter):
    """Documents a task as the function that it was made of."""

    objtype = "task"
    #: Before those of data, which every object is.
    priority = FunctionDocumenter.priority + 1

    @classmethod
    def can_document_member(cls, member: Any, membername: str, isattr: bool, parent: Any) -> bool:
        """Whether it is a task."""
        return isinstance(member, Task)

    def check_module(self) -> bool:
        """Whether the module that is documented has made it; what a shared task stands for knows."""
        made_in: str = self.object.__class__.__module__
        return made_in == self.modname


class TaskDirective(PyFunction):
    """A function with the prefix of tasks."""

    def get_signature_prefix(self, sig: str) -> Sequence[nodes.Node]:
        """What stands before the name."""
        return [nodes.Text(self.env.config.celery_task_prefix), nodes.Text(" ")]


def _keep(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """A task's class has the task's text, which autodoc takes for one that says nothing of the object."""
    own = isinstance(obj, Task) and vars(obj.__class__).get("__doc__")  # of what a shared task stands for
    return False if skip and own and not name.startswith("_") else None


def _document_in_the_former_way(app: Sphinx, config: Config) -> None:
    if _LEGACY in config:
        config[_LEGACY] = True


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("config-inited", _document_in_the_former_way, priority=1)
    app.connect("autodoc-skip-member", _keep)
    app.add_config_value("celery_task_prefix", "(task)", "env")
    app.add_autodocumenter(TaskDocumenter)
    app.add_directive_to_domain("py", "task", TaskDirective)
    app.add_role_to_domain("py", "task", PyXRefRole())
    PythonDomain.object_types["task"] = ObjType("task", "task", "obj")
    return {"version": __version__, "parallel_read_safe": True}
