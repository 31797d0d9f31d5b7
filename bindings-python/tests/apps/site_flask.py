"""A site of Flask with a node."""

from __future__ import annotations

from flask import Flask, request
from werkzeug.middleware.dispatcher import DispatcherMiddleware

import hosted
from posemesh_node.wsgi import Callbacks

site = Flask(__name__)
site.add_url_rule("/start", view_func=hosted.start)
site.add_url_rule("/stop", view_func=hosted.stop)


@site.get("/health")
def health() -> str:
    return "the site's"


@site.post("/length")
def length() -> str:
    return str(len(request.get_data()))


wrapped = Callbacks(site, node=hosted.find)
mounted = DispatcherMiddleware(site, {"/prefix": Callbacks(node=hosted.find)})
