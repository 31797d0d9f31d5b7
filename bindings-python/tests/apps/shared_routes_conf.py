"""Four workers, each with a node of its own, which share STATE_DIR."""

from __future__ import annotations

workers = 4


def post_worker_init(worker: object) -> None:
    import hosted

    hosted.start()


def worker_exit(server: object, worker: object) -> None:
    import hosted

    hosted.stop()
