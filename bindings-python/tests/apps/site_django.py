"""A site of Django with a node."""

# Django has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import path

import hosted
from posemesh_node import asgi, wsgi

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="test")
django.setup(set_prefix=False)


def start(request: HttpRequest) -> HttpResponse:
    return HttpResponse(hosted.start().encode())


def stop(request: HttpRequest) -> HttpResponse:
    return HttpResponse(hosted.stop().encode())


def health(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"the site's")


def length(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"%d" % len(request.body))


urlpatterns = [path("start", start), path("stop", stop), path("health", health), path("length", length)]

for_asgi = asgi.Callbacks(ASGIHandler(), node=hosted.find)
for_wsgi = wsgi.Callbacks(WSGIHandler(), node=hosted.find)
