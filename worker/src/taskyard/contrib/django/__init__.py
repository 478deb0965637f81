"""Django: settings, task discovery, connections and tasks that are sent on commit.

It takes effect by itself for an App that is made while the environment has DJANGO_SETTINGS_MODULE.
"""

from taskyard.contrib.django.task import DjangoTask

__all__ = ["DjangoTask"]
