"""What is shown of URLs, and settings by their catalogue."""

from __future__ import annotations

import pytest

from taskyard import App
from taskyard.broker.connection import without_password
from taskyard.errors import ImproperlyConfigured
from taskyard.settings.catalogue import NAMESPACES, find
from taskyard.settings.masking import masked


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://name@localhost", "redis://name@localhost"),
        ("redis://:pa;ss@localhost/0", "redis://:**@localhost/0"),
        ("redis://:pa/ss@localhost/0", "redis://:**@localhost/0"),
        ("redis://name:p,a@ss@[::1]:6379/0", "redis://name:**@[::1]:6379/0"),
        ("redis://name:12;ab@host/0", "redis://name:**@host/0"),
        ("redis://all@of@host", "redis://**@host"),
        ("sentinel://:a@h1:1;sentinel://:b@h2:2/0", "sentinel://:**@h1:1;sentinel://:**@h2:2/0"),
        ("sentinel://:a@h1:1;h2;x:b@h3:3/0", "sentinel://:**@h1:1;h2;x:**@h3:3/0"),
        ("mongodb://u:p@h1,u:q@h2/d?w=1&password=r", "mongodb://u:**@h1,u:**@h2/d?w=1&password=**"),
        ("azureblockblob://AccountName=a;AccountKey=k#==;X=y", "azureblockblob://AccountName=a;AccountKey=**;X=y"),
        ("amqp://u:p@h//", "amqp://u:**@h//"),
        ("disabled", "disabled"),
    ],
)  # fmt: skip
def test_passwords_are_masked(url: str, shown: str) -> None:
    assert masked(url, "**") == without_password(url) == shown


def test_settings_by_a_part_of_their_names() -> None:
    assert (find("default_queue")[:2], find("default_queue").type.default) == (
        ("task", "default_queue"),
        "celery",
    )
    assert NAMESPACES["worker"]["pool_start_method"].default == "fork"
    with pytest.raises(KeyError, match="prefetch_multiplier"):
        find("worker_prefetch_multiplie")
    conf = App(set_as_current=False, task_always_eager=True).conf
    assert conf.find_value_for_key("always_eager") is True
    assert conf.get_by_parts("task", "always", "eager") is True
    conf.clear()
    assert conf.task_always_eager is False


def test_settings_from_a_command_line() -> None:
    app = App(set_as_current=False)
    given = ["task_always_eager=yes", "worker.prefetch_multiplier=3", ".concurrency=(int)5"]
    given += ["broker_url=redis://", 'broker_transport_options={"a": 1}']
    app.config_from_cmdline(given, namespace="worker")
    conf = app.conf
    assert (conf.task_always_eager, conf.worker_prefetch_multiplier, conf.worker_concurrency) == (True, 3, 5)
    assert (conf.broker_url, conf.broker_transport_options) == ("redis://", {"a": 1})
    with pytest.raises(ImproperlyConfigured, match="task_always_eager"):
        app.config_from_cmdline(["task_always_eagr=yes"])
    with pytest.raises(ValueError, match="worker_prefetch_multiplier"):
        app.config_from_cmdline(["worker_prefetch_multiplier=many"])
