"""Faithfulness: what becomes of a class's probability as cells of an image are taken away."""

from camfleet.contract.studies import FaithfulnessAnswer
from camfleet_worker.studies.study import Study


def measure(study: Study) -> FaithfulnessAnswer:
    """Return what's measured of each row."""
    raise NotImplementedError
