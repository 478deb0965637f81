"""Pydantic models as arguments and results of tasks: `@app.task(pydantic=True)`."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from taskyard.errors import ImproperlyConfigured


def with_models(
    app: Any,
    function: Callable[..., Any],
    name: str,
    *,
    bind: bool,
    pydantic_strict: bool = False,
    pydantic_context: Mapping[str, Any] | None = None,
    pydantic_dump_kwargs: Mapping[str, Any] | None = None,
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The function with its annotated arguments made models and a model that it returns made a dict; and a
    function that makes the models among a caller's arguments dicts.
    """
    models = _Models(
        function,
        bind=bind,
        strict=pydantic_strict,
        context={**(pydantic_context or {}), "celery_app": app, "celery_task_name": name},
        dump={"mode": "json", **(pydantic_dump_kwargs or {})},
    )

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        bound = models.validated(args, kwargs)
        return models.dumped_result(function(*bound.args, **bound.kwargs))

    @functools.wraps(function)
    async def run_async(*args: Any, **kwargs: Any) -> Any:
        bound = models.validated(args, kwargs)
        return models.dumped_result(await function(*bound.args, **bound.kwargs))

    return (run_async if inspect.iscoroutinefunction(function) else run), models.dumped_arguments


class _Models:
    """The models in one function's signature."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        bind: bool,
        strict: bool,
        context: dict[str, Any],
        dump: dict[str, Any],
    ) -> None:
        try:
            from pydantic import BaseModel
        except ImportError:
            raise ImproperlyConfigured(
                "pydantic=True needs pydantic: pip install taskyard[pydantic]"
            ) from None
        self._base: type[Any] = BaseModel
        self._function = function
        self._signature = inspect.signature(function)
        self._bind, self._strict, self._context, self._dump = bind, strict, context, dump
        self._found: dict[str, Any] | None = None

    @property
    def _hints(self) -> dict[str, Any]:
        """Annotations; strings are looked up when they are first needed, for their names may come later."""
        if self._found is None:
            plain = {name: each.annotation for name, each in self._signature.parameters.items()}
            plain["return"] = self._signature.return_annotation
            try:
                self._found = {**plain, **typing.get_type_hints(self._function)}
            except (NameError, AttributeError, TypeError):
                return plain
        return self._found

    def _model_of(self, name: str, value: Any) -> Any:
        hint = self._hints.get(name)
        return _model(hint, self._base) if value is not None or not _is_optional(hint) else None

    def _validate(self, model: Any, value: Any) -> Any:
        return model.model_validate(value, strict=self._strict, context=self._context)

    def validated(self, args: Any, kwargs: Any) -> inspect.BoundArguments:
        """The arguments with models where the annotations want them; pydantic's error for what is none."""
        bound = self._signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            model = self._model_of(name, value)
            if model is not None:
                bound.arguments[name] = self._validate(model, value)
        return bound

    def dumped_result(self, value: Any) -> Any:
        """A model of the annotated class as a dict."""
        model = _model(self._hints.get("return"), self._base, any_class=True)
        if model is not None and isinstance(value, self._base) and isinstance(value, model):
            return value.model_dump(**self._dump)
        return value

    def dumped_arguments(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """The arguments of a call with models as dicts, where the task gets an equal model back."""
        given, named = args or (), kwargs or {}
        if not isinstance(given, (list, tuple)) or not isinstance(named, Mapping):
            return args, kwargs
        if not any(isinstance(value, self._base) for value in (*given, *named.values())):
            return args, kwargs
        own = [None] if self._bind else []
        try:
            self._signature.bind(*own, *given, **named)
        except TypeError:
            return args, kwargs
        kinds = self._signature.parameters.values()
        positional = [
            each.name for each in kinds if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
        ][len(own) :]
        by_name = {
            each.name for each in kinds if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        }
        dumped = [
            self._dumped(positional[place] if place < len(positional) else None, value)
            for place, value in enumerate(given)
        ]
        if any(new is not old for new, old in zip(dumped, given, strict=True)):
            args = dumped if isinstance(args, list) else tuple(dumped)
        changed = {
            name: self._dumped(name if name in by_name else None, value) for name, value in named.items()
        }
        if any(changed[name] is not value for name, value in named.items()):
            kwargs = changed
        return args, kwargs

    def _dumped(self, name: str | None, value: Any) -> Any:
        if name is None or not isinstance(value, self._base) or hasattr(type(value), "__json__"):
            return value
        model = self._model_of(name, value)
        if model is None:
            return value
        try:
            dumped = value.model_dump(**self._dump)
            same = self._validate(model, dumped) == value
        except Exception:
            # Validators may work on a worker only: the serializer says then what is wrong.
            return value
        return dumped if same else value


def _is_optional(hint: Any) -> bool:
    origin = typing.get_origin(hint)
    return origin in (typing.Union, types.UnionType) and type(None) in typing.get_args(hint)


def _model(hint: Any, base: type[Any], *, any_class: bool = False) -> Any:
    """The model that an annotation (or an optional one) names, else None."""
    if _is_optional(hint):
        others = [each for each in typing.get_args(hint) if each is not type(None)]
        hint = others[0] if len(others) == 1 else None
    if not isinstance(hint, type) or typing.get_origin(hint) is not None:
        return None
    return hint if any_class or issubclass(hint, base) else None
