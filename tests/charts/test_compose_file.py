"""docker-compose.yml by the schema of Compose, and its sentinels as processes of this machine."""

import json
import re
import shutil
import subprocess
import tomllib
from contextlib import closing, suppress

import pytest
from redis import Redis, RedisError

from camfleet.broker.ledger import Ledger
from camfleet.local.servers import find_valkey
from camfleet.settings import Settings
from helpers.charts import PROMTOOL, ROOT, TOOLS, Refused, run
from helpers.metrics import free_port
from helpers.waiting import wait_until

pytestmark = pytest.mark.charts

FILE = (ROOT / "docker-compose.yml").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
SCHEMA = TOOLS / "node_modules" / "dclint" / "schemas" / "compose.schema.json"
SERVERS = ("redis", "redis-2", "redis-3")
SENTINELS = ("sentinel-1", "sentinel-2", "sentinel-3")
OURS = ("setup", "worker", "worker-gpu", "worker-jax", "gateway")
SECRETS = {"REDIS_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY"}


def read(text):
    return json.loads(
        run([TOOLS / "bin" / "python", ROOT / "tests/charts/compose.py", SCHEMA], text)
    )


@pytest.fixture(scope="module")
def compose():
    return read(FILE)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Give a folder in which an operator has prepared sentinels."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / ".env.example").write_text(EXAMPLE)
    run_in(folder, "sentinel")
    return folder


def run_in(folder, *words):
    script = ROOT / "deploy" / "compose" / "prepare.sh"
    return subprocess.run(
        ["sh", script, *words], cwd=folder, capture_output=True, text=True, check=False
    )


def env(folder):
    lines = (folder / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if re.match("[A-Z]", line))


def test_a_misspelt_key_is_noticed(compose):
    with pytest.raises(Refused, match="helthcheck"):
        read(FILE.replace("    healthcheck:", "    helthcheck:", 1))


def test_services_are_chosen_by_profiles_and_none_comes_with_another_worker(compose):
    profiles = {name: each.get("profiles") for name, each in compose["services"].items()}
    always = {name for name, of in profiles.items() if of is None}
    assert always == {"redis", "seaweedfs", "setup"}
    assert {name: profiles[name] for name in OURS[1:]} == {
        "worker": ["cpu"],
        "worker-gpu": ["gpu"],
        "worker-jax": ["jax"],
        "gateway": ["gateway"],
    }
    assert profiles["prometheus"] == ["prometheus"]
    for name in (*SERVERS[1:], *SENTINELS):
        assert profiles[name] == ["sentinel"]
    assert "\nCOMPOSE_PROFILES=cpu\n" in EXAMPLE


def test_what_does_not_run_is_not_waited_for(compose):
    """A service of another profile is waited for only if it's there."""
    services = compose["services"]
    for service in services.values():
        for name, how in service.get("depends_on", {}).items():
            mine, its = service.get("profiles"), services[name].get("profiles")
            assert its in (None, mine) or how["required"] is False


@pytest.mark.parametrize("name", OURS)
def test_our_containers_may_write_nowhere_and_know_secrets_from_files_only(compose, name):
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["secrets"] == ["redis-url", "s3"]
    assert not SECRETS & {*re.findall(r"\$\{(\w+)", json.dumps(service))}
    writable = [each for each in service.get("volumes", ()) if not each.endswith(":ro")]
    assert writable == (["models:/home/camfleet/models"] if "worker" in name else [])


def test_no_command_holds_a_secret_and_only_loopback_is_published(compose):
    for service in compose["services"].values():
        commands = [service.get("command", ""), service.get("healthcheck", {})]
        assert not SECRETS & {*re.findall(r"\$\{(\w+)", json.dumps(commands))}
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_every_variable_is_explained_or_has_a_default(compose):
    explained = {*re.findall(r"(?m)^#?(\w+)=", EXAMPLE)}
    assert {*re.findall(r"\$\{(\w+)", FILE)} == explained - {"COMPOSE_PROFILES"}


def test_prometheus_takes_its_configuration_and_asks_at_the_ports_that_there_are(compose, tmp_path):
    text = compose["configs"]["prometheus"]["content"]
    (tmp_path / "prometheus.yml").write_text(text)
    shutil.copy(ROOT / "deploy" / "prometheus" / "alerts.yaml", tmp_path)
    assert "SUCCESS" in run([PROMTOOL, "check", "config", tmp_path / "prometheus.yml"])
    workers, gateways = re.findall(r"names: \[(.*?)\], type: A, port: (\d+)", text)
    assert [*workers[0].split(", "), gateways[0]] == list(OURS[1:])
    for name in workers[0].split(", "):
        assert compose["services"][name]["environment"]["CAMFLEET_METRICS_PORT"] == workers[1]
    assert f"--metrics-port={gateways[1]}" in compose["services"]["gateway"]["command"]


def test_images_are_built_by_arguments_that_there_are(compose):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for service in compose["services"].values():
        if build := service.get("build"):
            dockerfile = (ROOT / build["dockerfile"]).read_text()
            for name, value in build.get("args", {}).items():
                assert f"\nARG {name}=" in dockerfile
                if name == "EXTRA":
                    assert {*value.split(",")} <= extras["optional-dependencies"].keys()


def test_a_volume_that_workers_write_to_is_theirs():
    text = (ROOT / "worker" / "Dockerfile").read_text()
    made = text.index("install --directory --owner camfleet --group camfleet /home/camfleet/models")
    assert made < text.index("USER 10001") < text.index("VOLUME /home/camfleet/models")


def test_secrets_are_made_once_and_go_into_files(tmp_path):
    (tmp_path / ".env.example").write_text(EXAMPLE)
    assert run_in(tmp_path).returncode == 0
    made = env(tmp_path)
    assert all(re.fullmatch("[0-9a-f]{40}", made[name]) for name in SECRETS)
    secrets = tmp_path / "secrets"
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in secrets.iterdir()} == {0o444}
    url = f"redis://:{made['REDIS_PASSWORD']}@redis:6379/0\n"
    assert (secrets / "redis-url").read_text() == url
    assert run_in(tmp_path).returncode == 0
    assert env(tmp_path) == made
    (tmp_path / ".env").write_text((tmp_path / ".env").read_text().replace("KEY=", "KEY=a/b"))
    refused = run_in(tmp_path)
    assert (refused.returncode, refused.stderr) == (
        1,
        ".env: S3_ACCESS_KEY must be letters and digits\n",
    )


class Six:
    """The servers and sentinels as compose runs them, on ports of loopback instead of hosts."""

    def __init__(self, compose, folder, secrets):
        self._compose, self._folder, self._secrets = compose, folder, secrets
        self.ports = {name: free_port() for name in (*SERVERS, *SENTINELS)}
        self._running = {}

    def start(self, *names):
        for name in names:
            place = self._folder / name
            place.mkdir(exist_ok=True)
            kind = "sentinel" if name in SENTINELS else "redis"
            text = self._filled(self._compose["configs"][kind]["content"], name)
            (place / "etc.conf").write_text(text)
            shell, option, script = self._compose["services"][name]["command"]
            self._running[name] = subprocess.Popen(
                [shell, option, self._filled(script, name)], cwd=place, stdout=subprocess.DEVNULL
            )

    def stop(self, *names):
        for name in names or [*self._running]:
            self._running[name].terminate()
            self._running.pop(name).wait(30)

    def url(self):
        (url,) = (self._secrets / "secrets" / "redis-url").read_text().splitlines()
        for name in SENTINELS:
            url = url.replace(f"{name}:26379", f"127.0.0.1:{self.ports[name]}")
        return url

    def primary(self):
        """Return the name of the server that all sentinels name, None while they don't agree."""
        try:
            found = {self._asked(name) for name in SENTINELS}
        except RedisError:
            return None
        return next((name for name in SERVERS if {self.ports[name]} == found), None)

    def client(self, name):
        return Redis("127.0.0.1", self.ports[name], decode_responses=True, password=self.password)

    @property
    def password(self):
        return env(self._secrets)["REDIS_PASSWORD"]

    def _asked(self, name):
        with closing(Redis("127.0.0.1", self.ports[name])) as sentinel:
            return int(sentinel.sentinel_get_master_addr_by_name("mymaster")[1])

    def _filled(self, text, name):
        values = env(self._secrets)
        text = re.sub(r"\$\{(\w+)[^}]*\}", lambda found: values[found[1]], text)
        text = text.replace("redis 6379", f"127.0.0.1 {self.ports['redis']}")
        text = text.replace("port 26379", f"port {self.ports[name]}\nprotected-mode no")
        text = text.replace("milliseconds mymaster 5000", "milliseconds mymaster 1000")
        text = text.replace("/etc/camfleet.conf", "etc.conf")
        text = re.sub(r"--replica-announce-ip \S+", f"--port {self.ports[name]}", text)
        text = text.replace("exec redis-server", f"exec {find_valkey()}")
        return re.sub("exec redis-sentinel (.*)", rf"exec {find_valkey()} \1 --sentinel", text)


@pytest.fixture
def six(compose, prepared, tmp_path):
    made = Six(compose, tmp_path, prepared)
    made.start(*SERVERS)
    wait_until(lambda: is_followed(made, "redis"), 60)
    made.start(*SENTINELS)
    yield made
    made.stop()


def is_followed(six, name):
    with suppress(RedisError), closing(six.client(name)) as client:
        return client.info("replication").get("min_slaves_good_slaves") == 2
    return False


def test_sentinels_agree_and_a_restart_of_all_after_a_failover_loses_nothing(six, prepared):
    assert env(prepared)["COMPOSE_PROFILES"] == "cpu,sentinel"
    settings = Settings(
        redis_url=six.url(), bucket="b", sentinel_master=env(prepared)["SENTINEL_MASTER"]
    )
    wait_until(lambda: six.primary() == "redis", 60)
    with closing(Ledger(settings)) as ledger:
        wait_until(lambda: pings(ledger), 60)
        ledger.check_server()
    wait_until(lambda: fails_over(six), 60, pause=1)
    after = wait_until(lambda: (six.primary() not in (None, "redis")) and six.primary(), 60)
    wait_until(lambda: is_followed(six, after), 60)
    with closing(six.client(after)) as client:
        client.set("written", "after the failover")
        assert client.wait(2, 10_000) == 2
    six.stop()
    six.start(*SERVERS, *SENTINELS)
    wait_until(lambda: six.primary() == after and is_followed(six, after), 60)
    with closing(six.client(after)) as client:
        assert client.get("written") == "after the failover"
    with closing(Ledger(settings)) as ledger:
        wait_until(lambda: pings(ledger), 60)


def pings(ledger):
    try:
        ledger.ping()
    except Exception:  # noqa: BLE001  # whatever it is, it's waited for
        return False
    return True


def fails_over(six):
    """Ask for a failover; sentinels refuse it until they know of a good replica."""
    try:
        with closing(Redis("127.0.0.1", six.ports["sentinel-1"])) as sentinel:
            return sentinel.execute_command("SENTINEL", "FAILOVER", "mymaster")
    except RedisError:
        return False
