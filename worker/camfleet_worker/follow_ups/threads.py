"""The threads of a worker that make what follows jobs: at their end, and later on demand."""

from collections.abc import Callable

from camfleet.broker.ledger import Ledger
from camfleet.broker.reviews import ReviewBoard
from camfleet.contract.errands import (
    ComparisonErrand,
    ExportErrand,
    GalleryErrand,
    ReportErrand,
)
from camfleet.contract.follow_ups import FAITHFULNESS, LABEL_STUDIO, REPORT, REVIEW
from camfleet.faultpoints import FaultPoints
from camfleet.jobstore.s3_roots import ReportRoots
from camfleet.label_studio.api import Api
from camfleet.settings import Settings
from camfleet.storage.storage import Storage
from camfleet_worker.follow_ups.at_end import GalleryAtEnd
from camfleet_worker.follow_ups.errands import ErrandRunner
from camfleet_worker.follow_ups.exports import ExportMaker
from camfleet_worker.follow_ups.label_studio import PredictionMaker
from camfleet_worker.follow_ups.later import LaterMaker
from camfleet_worker.follow_ups.report import ReportMaker
from camfleet_worker.follow_ups.review import ReviewMaker
from camfleet_worker.follow_ups.runner import FollowUpRunner
from camfleet_worker.follow_ups.study import StudyMaker
from camfleet_worker.pipeline.thumbnails import Thumbnailer
from camfleet_worker.process.shutdown import Shutdown
from camfleet_worker.prometheus import Metrics
from camfleet_worker.studies.studies import Studies


class FollowUpThreads:
    """Both threads; they pause while `is_busy` says that somebody waits for this process.

    `counted` is to be told the job of each chunk that was counted.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        storage: Storage,
        ledger: Ledger,
        board: ReviewBoard,
        thumbnailer: Thumbnailer,
        studies: Studies,
        shutdown: Shutdown,
        is_busy: Callable[[], object],
        metrics: Metrics,
    ) -> None:
        reach = FaultPoints(settings.fault_dir).reach
        roots = ReportRoots(settings.bucket, settings.report_roots)
        ask = thumbnailer.make
        reports = ReportMaker(storage, ask, roots, reach)
        self._runner = FollowUpRunner(
            settings,
            storage=storage,
            ledger=ledger,
            makers={
                FAITHFULNESS: StudyMaker(storage, studies.make).make,
                REPORT: reports.make,
                REVIEW: ReviewMaker(storage, ask, board, reach).make,
                LABEL_STUDIO: PredictionMaker(storage, Api.of(settings), reach).make,
            },
            shutdown=shutdown,
            reach=reach,
            is_busy=is_busy,
            on_end=metrics.follow_up,
            lease_seconds=settings.lease_seconds,
        )
        self._at_end = GalleryAtEnd(settings, storage, ledger)
        self.counted = self._at_end.counted
        later = LaterMaker(storage, ask, reports)
        self._errands = ErrandRunner(
            settings,
            storage=storage,
            makers={
                GalleryErrand: later.gallery,
                ReportErrand: later.report,
                ComparisonErrand: later.comparison,
                ExportErrand: ExportMaker(storage, ledger).make,
            },
            shutdown=shutdown,
            is_busy=is_busy,
            on_end=metrics.errand,
            lease_seconds=settings.lease_seconds,
        )

    def close(self) -> None:
        self._runner.close()
        self._errands.close()
        self._at_end.close()
