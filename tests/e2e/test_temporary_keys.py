"""A worker whose keys come from a role and end in the midst of a job."""

import pytest

from camfleet import Client
from helpers.databases import environ_on
from helpers.processes import Worker
from helpers.samples import write_card, write_photos
from helpers.signing_front import a_signing_front
from helpers.token_service import a_token_service
from helpers.waiting import wait_until

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture
def service():
    with a_token_service() as made:
        yield made


@pytest.fixture
def front(stack, service):
    """Give what stands before the store, and takes keys of the service only, while they last."""
    keys = (stack.environ[name] for name in KEYS)
    with a_signing_front(stack.settings.s3_endpoint, *keys) as made:
        made.before = service.judge
        yield made


@pytest.fixture
def own_environ(environ, tmp_path):
    return {**environ_on(environ, 14), "CAMFLEET_CHUNK_SIZE": "2"}


@pytest.fixture
def worker(own_environ, service, front, tmp_path):
    """Start a worker as Kubernetes does for a service account with a role."""
    (tmp_path / "token").write_text("a token")
    environ = {name: value for name, value in own_environ.items() if name not in KEYS}
    environ |= {
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/camfleet",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ENDPOINT_URL_STS": service.url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "CAMFLEET_S3_ENDPOINT": front.url,
        "CAMFLEET_FILE_ROOTS": str(tmp_path),
        "CAMFLEET_MODEL_DIR": str(tmp_path / "models"),
        "CAMFLEET_CONCURRENCY": "1",
    }
    started = Worker(environ, tmp_path / "worker")
    yield started
    started.close()


def test_a_job_goes_on_with_new_keys(worker, service, own_environ, tmp_path):
    service.seconds = 4.0
    photos = write_photos(tmp_path / "photos", 12)
    worker.ready()
    with Client.from_environ(own_environ) as client:
        card = write_card(tmp_path / "card", "temporary-keys")
        ref, _ = client.models.add(card, timeout=120)
        worker.points.arm("counted")
        job = client.submit(photos[0].parent, models=ref)
        worker.hold("counted")
        first = {key for key, _agent in service.used}
        wait_until(lambda: service.are_over(first), 60)
        worker.points.release("counted")
        progress = job.wait(timeout=120)
        assert (progress.ok, progress.failed) == (12, 0)
        assert len(list(job.results())) == 12
    later = {agent.partition("/")[0] for key, agent in service.used if key not in first}
    assert "Boto3" in later  # obstore asks a minute later; until then boto3 reads for it
    assert "ExpiredToken" not in worker.said()
