"""Alerts as a real Prometheus fires them, of a real fleet that is broken and mended.

Durations of the rules are shortened by `HURRY`; all else is as operators have it.
"""

import resource
import socket
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from camfleet.broker.app import close_app, make_app
from camfleet.broker.errands_due import ErrandsDue
from camfleet.broker.keys import ERRANDS, SCHEDULES
from camfleet.broker.reviews import ReviewBoard, Reviewed
from camfleet.contract.errands import ReportErrand, Results
from camfleet.contract.lanes import FIRST_QUEUE
from camfleet.contract.messages import FIRST_TASK, SENT_HEADER
from camfleet.errors import CamfleetError
from camfleet.gateway.access.tokens import Tokens
from camfleet.jobstore import errands
from camfleet_worker.follow_ups.errands import ATTEMPTS
from helpers import documents
from helpers.charts import PROMTOOL, ROOT, run
from helpers.fleet import CHUNK, MODEL, Fleet, client_with_model, environment
from helpers.gateway import gateway
from helpers.harmful_layer import ARMED, write_faulty_card
from helpers.image_server import an_album
from helpers.killable_stack import OwnStack
from helpers.metrics import free_port
from helpers.prometheus_server import ALERTS, HURRY, Prometheus, hastened
from helpers.s3_front import a_storefront
from helpers.samples import write_card
from helpers.tcp_proxy import Proxy
from helpers.waiting import wait_until

pytestmark = pytest.mark.charts

LIMIT = "3"  # chunks that fail in a row, until a worker takes no more


class Broken:
    """The fleet: two workers, of which `far` reaches Redis by a proxy, and a gateway."""

    def __init__(self, fleet, front, proxy, ports, folder):
        self.fleet, self.front, self.proxy = fleet, front, proxy
        self.armed = folder / "armed"  # while it's there, the model `faulty` breaks
        self.seen = set()
        self._ports = ports
        self._workers = ExitStack()

    def start_workers(self):
        redis = self.proxy.through(self.fleet.environ["CAMFLEET_REDIS_URL"])
        self.near = self._worker(self._ports["near"])
        self.far = self._worker(self._ports["far"], CAMFLEET_REDIS_URL=redis)
        for worker in (self.near, self.far):
            worker.ready()

    def stop_workers(self):
        self._workers.close()

    def instance(self, name):
        return f"127.0.0.1:{self._ports[name]}"

    def submit(self, images, **options):
        return self.fleet.submit(images, **options)

    def _worker(self, port, **environ):
        environ |= {
            "CAMFLEET_METRICS_PORT": str(port),
            "CAMFLEET_S3_ENDPOINT": self.front.url,
            "CAMFLEET_STOP_AFTER_FAILED": LIMIT,
            "CAMFLEET_MODEL_CACHE_BYTES": "1",  # one model is kept, whatever its size
            "FAULT": str(self.armed),
        }
        return self._workers.enter_context(self.fleet.worker(**environ))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("alerts")


@pytest.fixture(scope="module")
def own(stack, folder):
    with OwnStack(folder / "stack", stack) as started:
        yield started


@pytest.fixture(scope="module")
def ports():
    return {name: free_port() for name in ("near", "far", "gateway")}


@pytest.fixture(scope="module")
def fleet(own, folder):
    """Give the fleet without workers, where the model `patches` is registered."""
    environ = environment(own, folder / "code")
    with an_album() as album, client_with_model(own.settings, folder / "card") as client:
        made = Fleet(environ, client, own, album, folder / "fleet")
        yield made
        made.close()


@pytest.fixture(scope="module")
def broken(fleet, ports, folder):
    proxy = Proxy(fleet.environ["CAMFLEET_REDIS_URL"])
    with a_storefront(fleet.environ["CAMFLEET_S3_ENDPOINT"]) as front, closing(proxy):
        made = Broken(fleet, front, proxy, ports, folder)
        made.start_workers()
        yield made
        made.stop_workers()


@pytest.fixture(scope="module")
def web(fleet, broken, ports, folder):
    """Give a gateway that may open as many files as its connections need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 8192), hard))
    token = Tokens(fleet.client.storage).create("operator", ("jobs:read",), 1)[0]
    port = str(ports["gateway"])
    with gateway(fleet.environ, folder, token, "--metrics-port", port) as started:
        yield started
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def prometheus(broken, web, ports, folder):
    with closing(Prometheus(folder / "prometheus", ports.values())) as started:
        yield started


@pytest.fixture
def fires(prometheus, broken):
    """Give a function that waits for an alert, and looks where it leads."""

    def fires(name, meanwhile=lambda: None, timeout=120, **labels):
        found = prometheus.fires(name, labels, timeout, meanwhile)
        broken.seen.add(name)
        page, anchor = found["runbook"].split("#")
        assert anchor == name.lower()
        assert anchor in documents.anchors(ROOT / page)
        assert found["summary"]
        return found

    return fires


def test_nothing_but_the_durations_of_the_rules_differs(tmp_path):
    (tmp_path / "alerts.yaml").write_text(hastened(ALERTS.read_text()))
    assert "SUCCESS" in run([PROMTOOL, "check", "rules", tmp_path / "alerts.yaml"])
    assert HURRY == 30
    assert hastened("for: 5m\nx[1h] offset 30m > 900") == "for: 10s\nx[120s] offset 60s > 900"


def test_a_fleet_that_is_well_fires_nothing(prometheus, broken):
    wait_until(lambda: prometheus.values("sum(camfleet_broker_up)") == [2], 60)
    broken.submit(6 * CHUNK).check()
    wait_until(lambda: prometheus.values('sum(camfleet_chunks_total{outcome="counted"})') > [5], 60)
    assert prometheus.alerts() == {}


def test_verdicts_of_reviews_are_told(fires, fleet):
    with closing(ReviewBoard(fleet.client.settings)) as board:
        for name, verdict in (("weekly", "moved"), ("monthly", "set_changed")):
            board.note(Reviewed(name=name, at=1.5, model="patches@1", verdict=verdict))
    fires("CamfleetReviewMoved", review="weekly")


def test_a_worker_that_is_cut_off_is_named(prometheus, fires, broken):
    broken.proxy.mode = "cut"
    told = fires("CamfleetWorkerCutOff", instance=broken.instance("far"))
    assert told["summary"] == f"{broken.instance('far')} doesn't reach Redis, and others do"
    assert "CamfleetRedisAway" not in prometheus.alerts()
    broken.proxy.mode = "pass"
    prometheus.ends("CamfleetWorkerCutOff")


def test_workers_that_wait_for_a_store_that_refuses_them_are_counted(prometheus, fires, broken):
    broken.front.trouble = lambda _method, _path: 403
    order = broken.submit(4 * CHUNK)
    fires("CamfleetWorkersWait")
    wait_until(lambda: prometheus.values("sum(camfleet_worker_waits)") == [2], 60)
    fires("CamfleetNoProgress")
    broken.front.trouble = lambda _method, _path: None
    order.check()
    prometheus.ends("CamfleetWorkersWait", "CamfleetNoProgress")


def test_a_redis_that_is_full_leaves_chunks_in_nobodys_hands(prometheus, fires, fleet, broken):
    fleet.album.delay = 1.0
    order = broken.submit(8 * CHUNK)
    wait_until(lambda: prometheus.values("max(camfleet_leases)") == [2], 60)
    with fleet.own.redis() as redis:
        fill(redis, {SCHEDULES: "late", ERRANDS: f"no-job/{'a' * 32}"})
        fires("CamfleetLeasesOverdue")
        fires("CamfleetWorkersWait")
        fires("CamfleetReviewLate", review="late")
        fires("CamfleetDueWaits", what="errands")
        redis.config_set("maxmemory", 0)
    fleet.album.delay = 0.0
    order.check()
    prometheus.ends("CamfleetLeasesOverdue", "CamfleetWorkersWait")
    prometheus.ends("CamfleetReviewLate", "CamfleetDueWaits")


def fill(redis, due):
    """Let names have been due for an hour in a Redis that takes no writes from this moment on."""
    with redis.pipeline() as pipe:
        for key, name in due.items():
            pipe.zadd(key, {name: redis.time()[0] - 3600})
        pipe.config_set("maxmemory", 1)
        pipe.execute()


def test_what_follows_a_job_and_what_is_asked_for_later_may_fail(fires, fleet, broken):
    order = broken.submit(CHUNK, report="s3://of-others/reports", force=True)
    order.check()
    fires("CamfleetFollowUpsFail", kind="report")
    storage, job_id = fleet.client.storage, order.job.id
    asked = errands.ask(storage, job_id, ReportErrand(results=Results(retry=0, chunks=1)), None)
    errands.write_errand(storage, replace(asked, attempts=ATTEMPTS))  # its workers died
    with closing(ErrandsDue(fleet.client.settings)) as due:
        due.enter(job_id, asked.id)
    fires("CamfleetErrandsFail", kind="report")


def test_images_that_fail_are_told_by_model(fires, fleet):
    def submit_what_is_missing():
        uris = fleet.photographs(CHUNK)
        fleet.album.missing.update(uris)
        fleet.client.submit(uris, models=[MODEL]).wait(timeout=180)

    fires("CamfleetImagesFail", submit_what_is_missing, model=f"{MODEL}@1")
    fleet.album.missing.clear()


def test_a_worker_with_few_files_left_is_named(prometheus, fires, broken):
    open_now = len([*Path(f"/proc/{broken.near.pid}/fd").iterdir()])
    kept = resource.prlimit(broken.near.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(broken.near.pid, resource.RLIMIT_NOFILE, (open_now + 8, kept[1]))
    fires("CamfleetFilesRunOut", instance=broken.instance("near"))
    resource.prlimit(broken.near.pid, resource.RLIMIT_NOFILE, kept)
    prometheus.ends("CamfleetFilesRunOut")


def test_models_that_take_each_others_place_are_told(fires, fleet, broken, folder):
    broken.far.kill()  # each worker keeps one model, so two would share them
    fleet.client.models.add(write_card(folder / "other", "other"), timeout=300)
    (uri,) = fleet.photographs(1)

    def ask_for_both():
        for model in (MODEL, "other"):
            fleet.client.explain(uri, model=model).result(timeout=60)

    fires("CamfleetModelsThrash", ask_for_both, 240, instance=broken.instance("near"))


def test_chunks_that_break_are_told_until_a_worker_takes_no_more(fires, fleet, broken, folder):
    """`far` is dead: `near` alone has the model in memory before it breaks."""
    card = write_faulty_card(
        folder / "faulty", folder / "code", f"if {ARMED}: raise ValueError('moody')"
    )
    fleet.client.models.add(card, timeout=300)
    broken.submit(CHUNK, model="faulty").check()
    broken.armed.touch()
    broken.submit(8 * CHUNK, model="faulty")
    fires("CamfleetChunksFail", instance=broken.instance("near"))
    told = fires("CamfleetWorkerInTrouble", instance=broken.instance("near"))
    assert told["summary"] == f"{broken.instance('near')} takes no work"


def test_whoever_waits_is_told_while_no_worker_takes_work(fires, fleet):
    """An hour can't be waited for: the first chunk of a job says that it was sent then."""
    app = make_app(fleet.client.settings)
    app.send_task(FIRST_TASK, queue=FIRST_QUEUE, headers={SENT_HEADER: 1.5})
    close_app(app)
    (uri,) = fleet.photographs(1)
    answer = fleet.client.explain(uri, model=MODEL)
    fires("CamfleetRequestsWait")
    fires("CamfleetJobsWait")
    with suppress(CamfleetError):
        answer.result(timeout=0.1)


def test_a_fleet_without_workers_is_told(prometheus, fires, broken):
    broken.near.kill()
    fires("CamfleetNoWorkers")
    broken.armed.unlink()
    broken.stop_workers()
    broken.start_workers()
    prometheus.ends("CamfleetNoWorkers", "CamfleetWorkerInTrouble", "CamfleetJobsWait")


def test_somebody_who_tries_tokens_is_told(fires, web):
    fires("CamfleetTokensRefused", lambda: [web.ask("GET", "/v1/jobs", token="x") for _ in "1234"])


def test_a_gateway_with_few_connections_left_is_named(prometheus, fires, broken, web):
    ask = f"GET /livez HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\n\r\n".encode()
    with ExitStack() as held:
        for number in range(2100):  # of twenty addresses, as one may not hold so many
            own = (f"127.0.0.{2 + number % 20}", 0)
            made = socket.create_connection(("127.0.0.1", web.port), 30, own)
            held.enter_context(closing(made))
            made.sendall(ask)  # one that asks nothing is closed soon
            assert made.recv(1000).startswith(b"HTTP/1.1 200")
        fires("CamfleetGatewayFull", instance=broken.instance("gateway"))
    prometheus.ends("CamfleetGatewayFull")


def test_a_redis_that_is_gone_is_told_by_workers_and_gateway(prometheus, fires, fleet, web):
    fleet.own.kill("valkey")
    fires("CamfleetRedisAway")
    fires("CamfleetGatewayErrors", lambda: web.ask("GET", "/v1/jobs"))
    fleet.own.start_again("valkey")
    prometheus.ends("CamfleetRedisAway")


def test_a_review_that_can_not_say_anything_is_told_after_a_while(fires):
    fires("CamfleetReviewWithoutVerdict", timeout=300, review="monthly")  # an hour's thirtieth


def test_all_alerts_have_been_seen(broken):
    names = {line.split()[-1] for line in ALERTS.read_text().splitlines() if "- alert:" in line}
    assert names == broken.seen
