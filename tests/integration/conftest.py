"""What most modules of this folder use of the two servers.

A module that looks at Redis has a database of its own, whose settings its fixture `own` gives.
"""

from contextlib import closing

import pytest

from camfleet.broker.ledger import Ledger
from camfleet.broker.reviews import ReviewBoard
from camfleet.storage.storage import Storage
from helpers.databases import emptied_redis


@pytest.fixture
def redis(own):
    with emptied_redis(own) as made:
        yield made


@pytest.fixture
def ledger(own, redis):
    with closing(Ledger(own)) as made:
        yield made


@pytest.fixture
def board(own, redis):
    with closing(ReviewBoard(own)) as made:
        yield made


@pytest.fixture(scope="module")
def storage(settings):
    with closing(Storage(settings)) as made:
        yield made
