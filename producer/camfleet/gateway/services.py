"""The wiring: what all requests share, made once for a process."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from camfleet.aio.client import AsyncClient
from camfleet.broker.answers import AnswerOwners
from camfleet.broker.errands_due import ErrandsDue
from camfleet.broker.events import Events
from camfleet.broker.listing import JobListing
from camfleet.broker.quotas import Quotas
from camfleet.broker.sessions import Sessions
from camfleet.client import Client
from camfleet.contract.tokens import Limits
from camfleet.gateway.access.limits import Admission
from camfleet.gateway.access.owners import JobOwners
from camfleet.gateway.access.policy import SourcePolicy
from camfleet.gateway.access.recognizer import Recognizer
from camfleet.gateway.access.tokens import TokenChecker, Tokens
from camfleet.gateway.access.turns import FairThreads
from camfleet.gateway.calls import MOST_STREAMS, MOST_WAITING, Services
from camfleet.gateway.following import Following
from camfleet.gateway.label_studio.shared import Backend
from camfleet.gateway.probe import Probe
from camfleet.gateway.prometheus import Metrics
from camfleet.gateway.reading import Reading
from camfleet.jobstore.s3_roots import CloudRoots
from camfleet.settings import Settings
from camfleet.temporary import sweep_once

_QUICK, _LONG = 16, 16  # threads, of which an owner has half at most


@contextmanager
def open_services(
    settings: Settings,
    hosts: Iterable[str],
    *,
    root_path: str = "",
    behind_tls: bool = False,
    labels: Mapping[str, Path] | None = None,
) -> Iterator[Services]:
    """Yield the services of a gateway that is reached by the names `hosts`.

    A proxy in front serves them below the `root_path`. `labels` are files of names for the
    classes of models, by the model's id, which annotation tools get.
    """
    sweep_once()  # here: on the event loop it would keep everybody waiting
    answers, events = AnswerOwners(settings), Events(settings)
    threads = FairThreads(_QUICK, _LONG)
    sessions, quotas = Sessions(settings), Quotas(settings)
    limits = Limits(
        requests=settings.token_requests,
        jobs=settings.token_jobs,
        images=settings.token_images,
        bytes=settings.token_bytes,
    )
    listing, errands = JobListing(settings), ErrandsDue(settings)
    with (
        ThreadPoolExecutor(MOST_STREAMS) as downloads,
        ThreadPoolExecutor(MOST_WAITING) as waiting,
        Client(settings) as blocking,  # it closes first, which ends what waits
    ):
        client = AsyncClient(settings, threads=threads)
        tokens = TokenChecker(Tokens(blocking.storage))
        services = Services(
            client=client,
            blocking=blocking,
            downloads=downloads,
            waiting=waiting,
            reading=Reading(blocking),
            errands=errands,
            owners=JobOwners(blocking.storage),
            listing=listing,
            admission=Admission(quotas, threads, limits),
            metrics=Metrics(),
            following=Following(client, events, threads),
            threads=threads,
            tokens=tokens,
            recognizer=Recognizer(tokens, threads),
            sessions=sessions,
            answers=answers,
            policy=SourcePolicy(settings.bucket, settings.s3_roots, CloudRoots.of(settings)),
            probe=Probe(blocking),
            image_bytes=settings.max_image_bytes,
            hosts=frozenset(name.lower() for name in hosts),
            root_path=root_path,
            behind_tls=behind_tls,
            label_studio=Backend(settings, blocking.storage, labels or {}),
        )
        services.metrics.watch(services.following, services.crowd)
        try:
            yield services
        finally:
            asyncio.run(client.close())
            threads.close()
            events.close()
            listing.close()
            errands.close()
            services.recognizer.close()
            answers.close()
            sessions.close()
            services.metrics.close()
            quotas.close()
