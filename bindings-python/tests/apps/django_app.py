"""A minimal Django site with a node: synchronous, with threads."""

# Django has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, JsonResponse
from django.urls import path

from posemesh_node import Node

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="test")

node = Node.from_env()


def status(request: HttpRequest) -> JsonResponse:
    node.wait_registered(timeout=60)
    return JsonResponse({"state": node.status().state})


urlpatterns = [path("", status)]
application = WSGIHandler()
