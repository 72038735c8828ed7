"""Workers as their heartbeats describe them."""

from camfleet.broker.heartbeats import WorkerState


def worker_state(name="celery@a:1", **changes):
    """Return the state of a worker that is well and idle, and has just started."""
    idle = {
        "pid": 1,
        "started_at": 0.0,
        "device": "CPU",
        "models": (),
        "chunks": (),
        "interactive": 0,
        "images": 0,
        "images_per_second": 0.0,
        "trouble": None,
    }
    return WorkerState(name=name, **{**idle, **changes})
