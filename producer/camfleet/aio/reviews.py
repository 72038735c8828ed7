"""Reviews whose verbs are awaited."""

from camfleet.aio.threads import Awaited, long, quick
from camfleet.jobs.reviews.reviews import Reviews


class AsyncReviews(Awaited):
    """Reviews of new versions of models: the verbs of `Client.reviews`, awaited."""

    create = long(Reviews.create)
    start = long(Reviews.start)
    run = long(Reviews.run)
    list = long(Reviews.list)
    names = long(Reviews.names)
    show = long(Reviews.show)
    history = long(Reviews.history)
    fetch_page = long(Reviews.fetch_page)
    accept = long(Reviews.accept)
    pause = long(Reviews.pause)
    resume = long(Reviews.resume)
    delete = long(Reviews.delete)
    late = quick(Reviews.late)
    troubles = quick(Reviews.troubles)
