"""Workers, jobs of photographs that count who asks for them, and what must be true at the end."""

import itertools
from contextlib import contextmanager
from dataclasses import replace

from camfleet import Client
from camfleet.contract import DEFAULT_OUTPUTS, Item
from support import wait_until
from workers import Worker

COMPLETE = 120
HEATMAP = replace_outputs = None


class Order:
    """A job with the photographs it was given."""
