"""A fleet on hosts of its own: servers on one, a worker each on two, a producer on a fourth.

The test itself looks on from outside by a line that's never cut: it's the operator who sees all.
"""

import io
import itertools
import os
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import boto3
import pyarrow.parquet as pq
from PIL import Image

from camfleet import Client
from camfleet.broker import keys
from camfleet.broker.redis import redis_client
from camfleet.interactive.register import Models
from camfleet.local.folder import HOST
from helpers.asking import ASK, Log
from helpers.fleet import MODEL
from helpers.hosts import Network
from helpers.image_server import an_album
from helpers.killable_stack import OwnStack
from helpers.processes import CAMFLEET, Producer, Worker
from helpers.samples import photo, write_card
from helpers.tcp_proxy import Proxy
from helpers.waiting import wait_until
from helpers.worker_services import services

# TEST_LEASE_SECONDS=30 makes it the default, and a partition of ten leases five minutes long.
LEASE = float(os.environ.get("TEST_LEASE_SECONDS", "5"))
CHUNK = 64
REDIS, STORE = "CAMFLEET_REDIS_URL", "CAMFLEET_S3_ENDPOINT"
_PHOTOS = 40
PATIENCE = 240  # seconds until a program has begun, on a busy machine
_LONGEST = 900  # seconds that a job may take
DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")


class HostFleet:
    """Hosts `store`, `one`, `two` and `desk`, and what runs on them."""

    def __init__(self, folder, stack):
        self._folder = folder
        self._stack = stack
        self._numbers = itertools.count()
        self.photos = []
        self._open = ExitStack()

    def __enter__(self):
        with ExitStack() as failed:
            failed.push(self._open)
            self.network = self._open.enter_context(Network())
            self.store, self.one, self.two, self.desk = map(
                self.network.host, ("store", "one", "two", "desk")
            )
            self.store.serve_loopback()
            own = OwnStack(self._folder / "stack", self._stack)
            self._open.callback(self.store.do, own.stop)
            self.store.do(own.start)
            self.environ = {
                **os.environ,
                **own.environ,
                "CAMFLEET_ALLOW_PRIVATE_HOSTS": "1",
                "CAMFLEET_LEASE_SECONDS": str(LEASE),
                "CAMFLEET_CONCURRENCY": "2",
                "CAMFLEET_CHUNK_SIZE": str(CHUNK),
            }
            for name in (REDIS, STORE):
                self.environ[name] = own.environ[name].replace(HOST, self.store.address)
            self._look_on(own)
            server = an_album(self.store.address)
            self.album = self.store.do(server.__enter__)
            self._open.callback(server.__exit__, None, None, None)
            failed.pop_all()
        return self

    def __exit__(self, *_):
        self._open.close()

    @contextmanager
    def worker(self, host, **environ):
        """Start a worker on a host for a block; it isn't ready yet."""
        made = {
            **self.environ,
            **environ,
            "CAMFLEET_MODEL_DIR": str(self._folder / f"models-{host.name}"),
        }
        started = host.do(Worker, made, self._new_folder(host), before=DIE_WITH_US)
        try:
            yield started
        finally:
            started.close()

    @contextmanager
    def program(self, script, *words, armed=(), **environ):
        """Run a Python script of a producer for a block, on `desk`."""
        made = {**self.environ, **environ}
        folder = self._new_folder(self.desk)
        words = (script, *map(str, words))
        started = self.desk.do(Producer, made, folder, *words, armed=armed, before=DIE_WITH_US)
        try:
            yield started
        finally:
            started.close()

    def command(self, *words, **how):
        """Run the camfleet command for a block, on `desk`."""
        return self.program(CAMFLEET, *words, **how)

    @contextmanager
    def asking(self, **environ):
        """Let people on `desk` ask for explanations all the time, for a block; give their log."""
        end = self._new_folder(self.desk) / "end"
        end.parent.mkdir(parents=True)
        with self.program(ASK, end, self.photos[0], MODEL, **environ) as asker:
            yield Log(asker)
            end.touch()
            assert asker.ended(180) == 0, asker.said()

    def order(self, images, uris=()):
        """Return a job of so many images that isn't submitted yet: of the bucket, or of others."""
        manifest = self._manifest(images, uris or self.photos)
        return HostOrder(self, f"hosts-{next(self._numbers)}", images, manifest)

    def submitted(self, job_id, images):
        """Return a job that somebody has submitted in another way."""
        return HostOrder(self, job_id, images)

    def submit(self, images, uris=(), **environ):
        """Return a job of so many images, submitted on `desk`."""
        order = self.order(images, uris)
        with self.command(*order.words, **environ) as command:
            assert command.ended(PATIENCE) == 0, command.said()
        return order

    def vanish(self, host, worker):
        """Let a host be gone from one moment to the next: nothing answers for it any more."""
        self.network.cut(host)
        subnet = f"{host.gateway.rpartition('.')[0]}.0/24"
        self.network.router.run("ip", "route", "add", "blackhole", subnet, "metric", "9999")
        worker.close()
        host.close()

    def _manifest(self, images, uris):
        """Return a manifest of so many images with an id of their own each."""
        path = self._new_folder(self.desk).with_suffix(".csv")
        lines = (f"{number},{uris[number % len(uris)]}" for number in range(images))
        path.write_text("\n".join(["id,image_uri", *lines]))
        return path

    def recount(self, job_id):
        """Return the ids of a job's rows and their states, as pyarrow finds them in the bucket."""
        bucket = self.client.storage.bucket
        store = boto3.client("s3", endpoint_url=self.client.settings.s3_endpoint)
        pages = store.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=f"jobs/{job_id}/results/"
        )
        found = [each["Key"] for page in pages for each in page.get("Contents", ())]
        parts = [store.get_object(Bucket=bucket, Key=key)["Body"].read() for key in found]
        store.close()
        rows = [row for part in parts for row in pq.read_table(io.BytesIO(part)).to_pylist()]
        assert {row["rank"] for row in rows} == {0}
        return Counter(int(row["item_id"]) for row in rows), Counter(row["status"] for row in rows)

    def _look_on(self, own):
        """Open the operator's line, upload the photographs, and register the model."""
        lines = {}
        for name in (REDIS, STORE):
            lines[name] = Proxy(own.environ[name], within=self.store.do)
            self._open.callback(lines[name].close)
        settings = replace(
            own.settings,
            redis_url=lines[REDIS].through(own.settings.redis_url),
            s3_endpoint=lines[STORE].through(own.settings.s3_endpoint),
        )
        self.client = self._open.enter_context(Client(settings))
        for number in range(_PHOTOS):
            file = io.BytesIO()
            Image.fromarray(photo(10 + number, 10 + number)).save(file, "PNG")
            uri = self.client.storage.put(f"album/{number}.png", file.getvalue(), "image/png")
            self.photos.append(uri)
        parts = services(settings)
        card = write_card(self._folder / "card", MODEL)
        Models(self.client.storage, lambda digest, _timeout: parts.check(digest)).add(card)
        parts.close()

    def _new_folder(self, host):
        return self._folder / f"{host.name}-{next(self._numbers)}"


class HostOrder:
    """A job of images with the ids 0, 1 and so on."""

    def __init__(self, fleet, job_id, images, manifest=None):
        self._fleet = fleet
        self.images = images
        self.job = fleet.client.job(job_id)
        self.words = (
            *("submit", manifest, "--model", MODEL, "--job-id", job_id),
            *("--keep-duplicates", "--picture", "none"),
        )

    def parts(self):
        """Return the numbers of the chunks that have been stored."""
        found = self._fleet.client.storage.keys(f"jobs/{self.job.id}/results/")
        return {int(key.rpartition("part-")[2].removesuffix(".parquet")) for key in found}

    def in_hands_of(self, *hosts):
        """Return the numbers of the chunks that workers of these hosts hold a lease of."""
        with redis_client(self._fleet.client.settings) as redis:
            held = redis.hgetall(keys.attempts(self.job.id))
        ours = tuple(f"celery@{host.name}:" for host in hosts)
        return {
            int(field.split(":")[1])
            for field, owner in held.items()
            if field.endswith(":owner") and owner.startswith(ours)
        }

    def complete(self):
        """Return the progress at the end of a job that never stood still for long."""
        end = time.monotonic() + _LONGEST
        while (seen := self._position()) != "ended":
            wait_until(lambda seen=seen: self._position() != seen, LEASE + 30, pause=0.2)
            assert time.monotonic() < end, f"{seen} after {_LONGEST} s"
        return self.job.status()

    def _position(self):
        progress = self.job.status()
        return "ended" if progress.ended else (progress.done, progress.in_work)

    def check(self):
        """Wait for the end; prove by the bucket alone that each image was counted once."""
        progress = self.complete()
        ids, states = self._fleet.recount(self.job.id)
        assert sorted(ids) == list(range(self.images))
        assert set(ids.values()) == {1}, "an image has two results"
        counted = {"ok": progress.ok, "no_evidence": progress.no_evidence}
        assert states == Counter({name: count for name, count in counted.items() if count})
        assert (progress.state, progress.failed, progress.total) == ("complete", 0, self.images)
        assert progress.chunks_done == progress.chunks == len(self.parts())
        proof = self.job.verify()
        assert (proof.faults, proof.missing_parts) == ((), 0)
