"""What the chart's pods may do, what they're told, and when they're restarted."""

import urllib.request

import pytest
import trustme

from camfleet.broker.backlog import BacklogReader
from camfleet.settings import Settings
from camfleet_worker.models.cache import ModelCache
from camfleet_worker.prometheus import Metrics
from helpers.charts import environment, pods, render
from helpers.metrics import free_port

pytestmark = pytest.mark.charts

MOST = {"setup-1", "gateway", "worker-cpu", "worker-gpu"}


@pytest.fixture(scope="module")
def most():
    return render("most")


@pytest.fixture(scope="module")
def least():
    return render("least")


def test_no_pod_is_root_or_writes_where_its_image_lies(most):
    assert set(pods(most)) == MOST
    for pod in pods(most).values():
        assert pod["automountServiceAccountToken"] is False
        security = pod["securityContext"]
        assert security["runAsNonRoot"]
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "limits" in container["resources"]
        assert all(each["emptyDir"] for each in pod["volumes"] if "emptyDir" in each)


def test_the_chart_makes_no_secret_and_no_secret_is_in_it(most, least):
    for manifests in (most, least):
        assert "Secret" not in {each["kind"] for each in manifests}
    found = environment(pods(most)["worker-gpu"])
    assert found["REDIS_PASSWORD"] == ("camfleet-redis", "password")
    assert found["CAMFLEET_SENTINEL_PASSWORD"] == ("camfleet-sentinel", "sentinel-password")
    assert found["CAMFLEET_SIGNING_KEY"] == ("camfleet-signing", "key")


def test_secrets_for_workers_are_given_to_workers_alone(most):
    for name, pod in pods(most).items():
        assert ("CAMFLEET_SIGNING_KEY" in environment(pod)) == name.startswith("worker")


@pytest.mark.parametrize("values", ["least", "most"])
def test_every_pod_starts_with_settings_that_camfleet_takes(values, tmp_path):
    authority = tmp_path / "ca.crt"
    trustme.CA().cert_pem.write_to_path(authority)
    for pod in pods(render(values)).values():
        found = environment(pod)
        given = {}
        for name, value in found.items():
            given[name] = "whsec_" + 40 * "x" if isinstance(value, tuple) else value
        for password in ("REDIS_PASSWORD", "REDIS_URL_PASSWORD"):
            url = given["CAMFLEET_REDIS_URL"].replace(f"$({password})", "se%2Fcret")
            given["CAMFLEET_REDIS_URL"] = url
        assert "$(" not in given["CAMFLEET_REDIS_URL"]
        if "CAMFLEET_CA_FILE" in given:
            assert given["CAMFLEET_CA_FILE"] == "/etc/camfleet/ca/ca.crt"
            given["CAMFLEET_CA_FILE"] = str(authority)
        settings = Settings.from_environ(
            {name: text for name, text in given.items() if name.startswith("CAMFLEET_")}
        )
        assert settings.bucket == "camfleet"
        assert "se%2Fcret@redis" in settings.redis_url


def test_a_password_stands_in_the_environment_before_the_url_that_has_it(most):
    (container,) = pods(most)["gateway"]["containers"]
    names = [each["name"] for each in container["env"]]
    assert names.index("REDIS_URL_PASSWORD") < names.index("CAMFLEET_REDIS_URL")


def test_numbers_are_written_as_people_write_them_and_a_pools_own_settings_win(most):
    cpu, gpu = (environment(pods(most)[f"worker-{kind}"]) for kind in ("cpu", "gpu"))
    assert cpu["CAMFLEET_MAX_IMAGE_PIXELS"] == "100000000"
    assert cpu["CAMFLEET_LEASE_SECONDS"] == "30.5"
    assert cpu["CAMFLEET_BATCH_SIZE"] == "8"
    assert "CAMFLEET_BATCH_SIZE" not in gpu
    assert (cpu["CAMFLEET_LOG_FORMAT"], gpu["CAMFLEET_LOG_FORMAT"]) == ("text", "json")


def test_a_worker_gets_one_gpu_each_and_no_pod_a_gpu_where_there_is_none(most, least):
    (gpu,) = pods(most)["worker-gpu"]["containers"]
    assert gpu["resources"]["limits"] == {"memory": "16Gi", "nvidia.com/gpu": 1}
    assert "nvidia" not in str(least)


def test_a_worker_is_not_killed_before_it_has_given_its_chunks_back(most):
    for name in ("worker-cpu", "worker-gpu"):
        pod = pods(most)[name]
        stop = float(environment(pod)["CAMFLEET_STOP_SECONDS"])
        assert pod["terminationGracePeriodSeconds"] >= stop + 30
        assert environment(pod)["REMAP_SIGTERM"] == "SIGQUIT"


def test_a_worker_without_redis_is_alive_to_its_probes_and_not_asked_for_it(most):
    (worker,) = pods(most)["worker-cpu"]["containers"]
    asked = worker["livenessProbe"]["httpGet"]
    assert asked == worker["startupProbe"]["httpGet"]
    metrics, queues, port = Metrics(), _Counted(_away()), free_port()
    metrics.watch(ModelCache(lambda key: key, 1), queues)
    metrics.serve("127.0.0.1", port)
    try:
        text = _get(port, asked["path"])
        assert "camfleet_chunks_in_work 0.0" in text
        assert queues.reads == 0
        assert "camfleet_broker_up 0.0" in _get(port, "/metrics")
        assert queues.reads == 1
    finally:
        metrics.close()
        queues.close()


class _Counted:
    """A reader that counts what is asked of it."""

    def __init__(self, settings):
        self._reader, self.reads = BacklogReader(settings, 1.0), 0

    def read(self):
        self.reads += 1
        return self._reader.read()

    def close(self):
        self._reader.close()


def _away():
    return Settings(redis_url=f"redis://127.0.0.1:{free_port()}/0", bucket="camfleet")


def _get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.read().decode()


def test_no_probe_of_a_gateway_needs_redis_or_a_worker(most):
    (gateway,) = pods(most)["gateway"]["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = gateway[probe]["httpGet"]
        assert asked["path"] == "/livez"
        assert asked["httpHeaders"] == [{"name": "Host", "value": "localhost"}]


def test_probes_ask_ports_that_there_are(most):
    for pod in pods(most).values():
        (container,) = pod["containers"]
        ports = {each["name"] for each in container.get("ports", ())}
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container.get(name, {}).get("httpGet")
            assert not asked or asked["port"] in ports
