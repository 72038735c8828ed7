"""What `camfleet setup` finds out about a store and Redis, and says with its cost."""

import json
from contextlib import closing
from email.utils import formatdate, parsedate_to_datetime
from threading import Lock

import pytest
import redis as redis_py

from camfleet import Client
from camfleet.broker.redis import Redis
from camfleet.broker.server import look_at
from camfleet.local import process, servers
from camfleet.settings import Settings
from camfleet.storage.probe import Probe
from camfleet.storage.storage import Storage
from helpers.commands import camfleet
from helpers.metrics import free_port
from helpers.signing_front import a_signing_front, refusal
from helpers.waiting import wait_until

STORE = ("conditional writes", "conditional changes", "parts of objects", "lists", "deleting")
CLOCK = "the store's clock"


@pytest.fixture
def front(stack):
    """Give what stands before the stack's store; all requests are noted."""
    keys = stack.environ["AWS_ACCESS_KEY_ID"], stack.environ["AWS_SECRET_ACCESS_KEY"]
    with a_signing_front(stack.settings.s3_endpoint, *keys) as made:
        yield made


@pytest.fixture
def look(front):
    """Give a function that returns what is found out about the store behind the front, by name."""
    storage = Storage(Settings(redis_url="", bucket="camfleet", s3_endpoint=front.url))
    yield lambda: {check.what: check for check in Probe(storage).checks()}
    storage.close()


@pytest.fixture
def proofs(settings):
    """Give a function that returns what is left of checks in the bucket."""
    storage = Storage(settings)
    storage.set_up()
    yield lambda: list(storage.keys("uploads/setup-proof-"))
    storage.delete(list(storage.keys("uploads/setup-proof-")))
    storage.close()


def costly(found):
    return {what for what, check in found.items() if check.costs}


def missing(found):
    return {what for what, check in found.items() if check.missing}


def test_a_good_store_lacks_nothing(look, proofs):
    found = look()
    assert set(found) == {*STORE, CLOCK}
    assert (costly(found), missing(found)) == (set(), set())
    assert found["conditional writes"].found.startswith("kept, and of 4 writers")
    assert proofs() == []


@pytest.mark.parametrize("header", ["if-none-match", "if-match"])
def test_a_store_that_ignores_conditions_is_found(front, look, proofs, header):
    front.before = lambda asked: asked.headers.pop(header, None) and None
    what = {"if-none-match": "conditional writes", "if-match": "conditional changes"}[header]
    found = look()
    assert missing(found) == costly(found) == {what}
    assert found[what].found.lower() == f"{header} is ignored"
    assert "overwrite each other" in found[what].costs
    assert proofs() == []


def test_a_store_that_refuses_conditions_is_found(front, look, proofs):
    def refuse(asked):
        conditional = {"if-none-match", "if-match"} & set(asked.headers)
        return refusal(501, "NotImplemented") if conditional else None

    front.before = refuse
    found = look()
    assert missing(found) == {"conditional writes", "conditional changes"}
    assert "refused by the store" in found["conditional writes"].found
    assert proofs() == []


def test_a_store_that_keeps_conditions_only_one_after_the_other_is_found(front, look, proofs):
    """Each of several writers at the same time looks whether there's an object, then writes."""
    seen, lock = {}, Lock()

    def race(asked):
        if asked.method == "PUT" and asked.body in (b"0", b"1", b"2", b"3"):
            with lock:
                seen.setdefault(asked.path, []).append(asked.headers.pop("if-none-match"))

    front.before = race
    found = look()
    assert missing(found) == {"conditional writes"}
    assert found["conditional writes"].found.startswith("of 4 writers at the same time 4 were told")
    assert [len(conditions) for conditions in seen.values()] == [4]
    assert proofs() == []


def test_a_store_that_sends_no_parts_is_found(front, look, proofs):
    front.before = lambda asked: asked.headers.pop("range", None) and None
    found = look()
    assert (costly(found), missing(found)) == ({"parts of objects"}, set())
    assert "packed" in found["parts of objects"].costs
    assert proofs() == []


def is_list(asked):
    return asked.method == "GET" and "list-type=2" in asked.path


def only_first_page(asked, answered):
    if is_list(asked):
        answered.body = answered.body.replace(b"<IsTruncated>true", b"<IsTruncated>false")


def stale(asked, answered):
    """Show nothing of what was just written."""
    if is_list(asked) and b"setup-proof" in answered.body:
        head, _, rest = answered.body.partition(b"<Contents>")
        answered.body = head + rest.rpartition(b"</Contents>")[2]


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (only_first_page, "lists of several pages are incomplete"),
        (stale, "what was just written isn't listed"),
    ],
)
def test_a_store_that_lists_incompletely_is_found(front, look, proofs, after, reason):
    front.after = after
    found = look()
    assert missing(found) == {"lists"}
    assert found["lists"].found == reason
    front.after = lambda _asked, _answered: None
    assert proofs() == []


def test_credentials_that_may_not_list_are_told(front, look, proofs):
    front.before = lambda asked: refusal(403, "AccessDenied") if is_list(asked) else None
    found = look()
    assert missing(found) == {"lists"}
    assert "refuses these credentials" in found["lists"].found
    assert proofs() == []


def test_credentials_that_may_not_delete_are_told_what_stays(front, look, proofs):
    front.before = lambda asked: refusal(403, "AccessDenied") if "delete" in asked.path else None
    found = look()
    assert "deleting" in costly(found)
    left = proofs()
    assert left
    told = found["deleting"].costs.partition("s3://camfleet/")[2]
    assert [key for key in left if not key.startswith(told)] == []


@pytest.mark.parametrize(("seconds", "said"), [(300, "ahead of"), (-300, "behind")])
def test_a_clock_that_differs_is_told(front, look, seconds, said):
    def shift(_asked, answered):
        moment = parsedate_to_datetime(answered.headers["date"]).timestamp() + seconds
        answered.headers["date"] = formatdate(moment, usegmt=True)

    front.after = shift
    found = look()
    assert (costly(found), missing(found)) == ({CLOCK}, set())
    assert said in found[CLOCK].found


def test_credentials_for_camfleets_prefixes_alone_are_enough(front, look, stack):
    """They may not list buckets, nor touch what isn't camfleet's."""
    own = ("uploads/", "jobs/", "models/", "registry", "maps/", "reviews/", "tokens/", "fleets/")

    def judge(asked):
        path, _, query = asked.path.partition("?")
        key = path.removeprefix("/camfleet").lstrip("/")
        foreign = path == "/" or (key and not key.startswith(own))
        listed = query.partition("prefix=")[2].partition("&")[0].replace("%2F", "/")
        outside = is_list(asked) and not listed.startswith(own) and "max-keys=1" not in query
        return refusal(403, "AccessDenied") if foreign or outside else None

    front.before = judge
    storage = Storage(Settings(redis_url="", bucket="camfleet", s3_endpoint=front.url))
    storage.set_up()
    storage.close()
    assert costly(look()) == set()


def setup(environ, *words):
    return camfleet("setup", *words, environ=environ)


@pytest.fixture
def no_fleets(settings):
    """Delete the signs of fleets: workers of other tests are fleets, too."""
    with closing(Storage(settings)) as storage:
        storage.delete(list(storage.keys("fleets/")))


@pytest.mark.usefixtures("no_fleets")
def test_the_command_says_that_all_is_well(environ):
    done = setup(environ)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("ready: bucket camfleet")
    assert {line.split()[0] for line in lines[:-1]} == {"ok"}
    said = json.loads(setup(environ, "--json").stdout)
    assert (said["bucket"], said["ready"]) == ("camfleet", True)
    assert {check["what"] for check in said["checks"]} >= {*STORE, CLOCK, "Redis' policy"}


def test_the_command_says_what_is_missing_and_exits_one(front, environ):
    front.before = lambda asked: asked.headers.pop("if-none-match", None) and None
    changed = {**environ, "CAMFLEET_S3_ENDPOINT": front.url}
    done = setup(changed)
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("missing")]
    assert line == "missing  conditional writes: If-None-Match is ignored"
    assert "overwrite each other" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("not ready: bucket camfleet")
    said = setup(changed, "--json")
    assert (said.returncode, json.loads(said.stdout)["ready"]) == (1, False)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Give the address of a Redis of our own, which keeps nothing."""
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    command = [str(servers.find_valkey()), "--port", str(port), "--save", "", "--appendonly", "no"]
    running = process.spawn(command, log=folder / "log", cwd=folder, environ={"PATH": "/bin"})
    with closing(redis_py.Redis(port=port)) as client:
        wait_until(lambda: answers(client), 30)
    yield f"redis://127.0.0.1:{port}/0"
    process.kill(running)


def answers(client):
    try:
        return client.ping()
    except redis_py.RedisError:
        return False


def about(url):
    settings = Settings(redis_url=url)
    with closing(Redis(settings)) as connected:
        return {check.what: check for check in look_at(connected, settings)}


@pytest.mark.parametrize(
    ("policy", "limit", "is_missing"),
    [
        ("noeviction", "0", False),
        ("noeviction", "100mb", False),
        ("allkeys-lru", "0", False),
        ("allkeys-lru", "100mb", True),
        ("volatile-ttl", "100mb", True),
    ],
)
def test_a_redis_that_throws_keys_away_is_told(server, policy, limit, is_missing):
    with closing(redis_py.Redis.from_url(server)) as client:
        client.config_set("maxmemory-policy", policy)
        client.config_set("maxmemory", limit)
        check = about(server)["Redis' policy"]
        client.config_set("maxmemory", "0")
        client.config_set("maxmemory-policy", "noeviction")
    assert (policy in check.found, check.missing) == (True, is_missing)
    assert bool(check.costs) == (policy != "noeviction")


def test_a_redis_that_keeps_nothing_is_told(server):
    assert "set appendonly yes" in about(server)["Redis' persistence"].costs
    with closing(redis_py.Redis.from_url(server)) as client:
        client.config_set("appendonly", "yes")
        wait_until(lambda: not about(server)["Redis' persistence"].costs, 30)
        client.config_set("appendonly", "no")


def test_a_replica_is_told_from_its_primary(server, settings):
    assert not about(server)["Redis' replicas"].costs
    with closing(redis_py.Redis.from_url(server)) as client:
        client.replicaof("127.0.0.1", 9)
        found = about(server)
        client.replicaof("NO", "ONE")
    assert missing(found) == {"Redis' replicas"}
    assert "name its primary" in found["Redis' replicas"].costs


@pytest.mark.usefixtures("no_fleets")
def test_the_stacks_redis_lacks_nothing(settings):
    with Client(settings) as client:
        found = {check.what: check for check in client.checks()}
    assert costly(found) == set()
    assert found["Redis' clock"].found == "as this machine's"
