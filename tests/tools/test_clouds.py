"""Images of Azure's and Google's stores, read from servers that stand for them."""

import base64
import hashlib
import hmac
import http.client
import os
from datetime import timedelta
from email.utils import formatdate
from urllib.parse import urlsplit

import obstore
import pytest
from obstore.store import AzureStore

from camfleet import Client
from camfleet.errors import ImageError, ImageNotFound, ImageTooLarge, SourceForbidden
from camfleet.settings import Settings
from camfleet_worker.sources.objects import CloudReader
from helpers.databases import environ_on
from helpers.processes import Worker
from helpers.samples import write_card, write_photos
from helpers.stores import azurite, google

pytestmark = pytest.mark.tools

ACCOUNT = "devstoreaccount1"
KEY = (  # Azurite's own, which its documents name
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
NAMES = ("a.jpg", "a b.jpg", "ä/b%20c#?.jpg", "deep/er/x.png")


def photos_at(endpoint):
    """Return obstore's way to the container, as whoever uploads has it."""
    return AzureStore(
        "photos",
        account_name=ACCOUNT,
        account_key=KEY,
        endpoint=endpoint,
        client_options={"allow_http": True},
    )


@pytest.fixture(scope="module")
def azure(tmp_path_factory):
    """Give the address of an account with a container `photos`."""
    with azurite(tmp_path_factory.mktemp("azurite")) as url:
        _create_container(url, "photos")
        store = photos_at(url)
        for name in NAMES:
            obstore.put(store, name, name.encode())
        yield url


def _create_container(url, name):
    """Ask as Azure's documents say (Shared Key): obstore makes no containers."""
    place = urlsplit(url)
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    resource = f"/{ACCOUNT}{place.path}/{name}\nrestype:container"
    signed = [f"{key}:{value}" for key, value in sorted(headers.items())]
    text = "\n".join(["PUT", *[""] * 11, *signed, resource])
    code = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(code).decode()}"
    line = http.client.HTTPConnection(place.netloc)
    line.request("PUT", f"{place.path}/{name}?restype=container", headers=headers)
    assert line.getresponse().status == 201
    line.close()


@pytest.fixture
def environ(azure, monkeypatch):
    """Give a function that sets what a worker's environment says of Azure."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", azure)

    def use(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return use


def reader(**roots):
    return CloudReader(Settings(redis_url="", bucket="camfleet", **roots))


@pytest.mark.parametrize("name", NAMES)
def test_an_image_of_azure_is_read_with_its_etag(environ, name):
    environ(AZURE_STORAGE_ACCOUNT_KEY=KEY)
    data, etag = reader(az_roots=("photos",)).read(f"az://photos/{name}", 100)
    assert data == name.encode()
    assert etag
    assert '"' not in etag


def test_a_prefix_opens_what_is_below_it(environ):
    environ(AZURE_STORAGE_ACCOUNT_KEY=KEY)
    opened = reader(az_roots=("photos/deep",))
    assert opened.read("az://photos/deep/er/x.png", 100)[0] == b"deep/er/x.png"
    with pytest.raises(SourceForbidden, match="CAMFLEET_AZ_ROOTS"):
        opened.read("az://photos/a.jpg", 100)


def test_a_worker_explains_an_image_of_azure(azure, environ, settings, stack, tmp_path):
    """All the way: a request, a job, and what isn't open."""
    (photo,) = write_photos(tmp_path / "photos", 1)
    store = photos_at(azure)
    obstore.put(store, "rose.png", photo.read_bytes())
    environ(AZURE_STORAGE_ACCOUNT_KEY=KEY)
    variables = {
        **os.environ,
        **environ_on(stack.environ, 13),
        "CAMFLEET_AZ_ROOTS": "photos",
        "CAMFLEET_MODEL_DIR": str(tmp_path / "models"),
    }
    worker = Worker(variables, tmp_path / "worker")
    try:
        worker.ready()
        with Client.from_environ(variables) as client:
            card = write_card(tmp_path / "card", "azure-photos")
            ref, _ = client.models.add(card, timeout=120)
            (answer,) = client.explain("az://photos/rose.png", model=ref).result(timeout=60)
            assert answer.status == "ok"
            uris = ["az://photos/rose.png", "az://others/rose.png", "gs://photos/rose.png"]
            job = client.submit(uris, models=ref)
            job.wait(timeout=120)
            rows = {row.image_uri: row.error_code for row in job.results()}
            assert [rows[uri] for uri in uris] == [None, "source_forbidden", "source_forbidden"]
            with pytest.raises(SourceForbidden, match=r"add others to their CAMFLEET_AZ_ROOTS"):
                client.submit(uris[1:2], models=ref)
            saved = client.pictures.get(job.id, tmp_path / "got", kinds=["original"], status="ok")
            (path,) = (tmp_path / "got").iterdir()
            assert (saved.fetched, path.read_bytes()) == (1, photo.read_bytes())
    finally:
        worker.close()


def test_what_is_not_there_or_too_large_is_the_images_fault(environ):
    environ(AZURE_STORAGE_ACCOUNT_KEY=KEY)
    opened = reader(az_roots=("*",))
    for uri in ("az://photos/none.jpg", "az://nowhere/a.jpg"):
        with pytest.raises(ImageNotFound, match=uri):
            opened.read(uri, 100)
    with pytest.raises(ImageTooLarge, match=r"5 bytes.*CAMFLEET_MAX_IMAGE_BYTES"):
        opened.read("az://photos/a.jpg", 4)
    with pytest.raises(ImageError):
        opened.read("az://photos/", 100)


def test_credentials_that_azure_refuses_are_told_and_not_shown(environ):
    wrong = base64.b64encode(b"another" * 5).decode()
    environ(AZURE_STORAGE_ACCOUNT_KEY=wrong)
    with pytest.raises(SourceForbidden, match=r"az://photos/a\.jpg: Azure refuses") as caught:
        reader(az_roots=("photos",)).read("az://photos/a.jpg", 100)
    assert wrong not in str(caught.value)


def test_a_signature_opens_what_it_is_for(environ, azure):
    store = photos_at(azure)
    signed = obstore.sign(store, "GET", "a.jpg", timedelta(hours=1))
    environ(AZURE_STORAGE_SAS_TOKEN=urlsplit(signed).query)
    opened = reader(az_roots=("photos",))
    assert opened.read("az://photos/a.jpg", 100)[0] == b"a.jpg"
    with pytest.raises(SourceForbidden, match="Azure refuses"):
        opened.read("az://photos/a b.jpg", 100)


def test_without_credentials_nothing_is_asked(environ):
    with pytest.raises(SourceForbidden, match=r"no credentials for Azure.*AZURE_STORAGE_ACCOUNT_"):
        reader(az_roots=("photos",)).read("az://photos/a.jpg", 100)


@pytest.fixture(scope="module")
def buckets(tmp_path_factory):
    """Give the address of a server with a bucket `photos`."""
    folder = tmp_path_factory.mktemp("google")
    for name in ("a.jpg", "deep/b c.jpg"):
        path = folder / "buckets" / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    with google(folder, folder / "buckets") as url:
        yield url


def test_an_image_of_google_is_read(buckets, monkeypatch):
    monkeypatch.setenv("GOOGLE_BASE_URL", buckets)
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    opened = reader(gs_roots=("photos",))
    for name in ("a.jpg", "deep/b c.jpg"):
        data, etag = opened.read(f"gs://photos/{name}", 100)
        assert (data, bool(etag)) == (name.encode(), True)
    with pytest.raises(ImageNotFound, match="gs://photos/none"):
        opened.read("gs://photos/none", 100)
    with pytest.raises(ImageTooLarge):
        opened.read("gs://photos/a.jpg", 4)
    with pytest.raises(SourceForbidden, match="CAMFLEET_GS_ROOTS"):
        opened.read("gs://others/a.jpg", 100)


def test_google_without_credentials_is_not_asked(buckets, monkeypatch):
    monkeypatch.setenv("GOOGLE_BASE_URL", buckets)
    with pytest.raises(SourceForbidden, match=r"no credentials for Google Cloud.*GOOGLE_"):
        reader(gs_roots=("photos",)).read("gs://photos/a.jpg", 100)
