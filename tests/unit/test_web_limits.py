"""Reading over http(s): limits of time and size hold whatever a server does, and TLS verifies."""

import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from camfleet.errors import ImageTooLarge, SourceUnreachable
from helpers.web_server import IMAGE, LIMIT, Names, Site, reader, serving


@pytest.fixture
def site() -> Iterator[Site]:
    yield from serving()


@pytest.mark.parametrize("path", [f"/announced/{LIMIT + 1}", "/chunked/500+500+1"])
def test_more_than_the_limit_is_refused(path: str, site: Site) -> None:
    with pytest.raises(ImageTooLarge, match=r"the limit is 1000 \(CAMFLEET_MAX_IMAGE_BYTES\)"):
        reader().read(site.url(path), LIMIT)
    assert len(reader().read(site.url("/chunked/500+500"), LIMIT)[0]) == LIMIT


def test_a_body_that_breaks_off_may_be_tried_again(site: Site) -> None:
    with pytest.raises(SourceUnreachable, match="5 bytes read"):
        reader().read(site.url("/announced/900"), LIMIT)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/banner", "Connection aborted: BadStatusLine"),
        ("/miscounted", "Connection broken: InvalidChunkLength"),
        ("/counted", "a header is broken"),
    ],
)
def test_what_a_server_of_another_kind_sends_is_not_quoted(
    path: str, reason: str, site: Site
) -> None:
    with pytest.raises(SourceUnreachable, match=f"{path}: {reason}$"):
        reader().read(site.url(path), LIMIT)


@pytest.mark.parametrize("path", ["/silent", "/dripping/head", "/dripping/body"])
def test_the_time_limit_holds_however_slowly_a_server_answers(path: str, site: Site) -> None:
    start = time.monotonic()
    with pytest.raises(SourceUnreachable, match=r"within 0.3 s \(CAMFLEET_FETCH_TIMEOUT\)"):
        reader(seconds=0.3).read(site.url(path), LIMIT)
    assert 0.25 < time.monotonic() - start < 2


def test_a_chunk_without_an_end_is_not_taken_into_memory(site: Site) -> None:
    with pytest.raises(ImageTooLarge, match="far more than CAMFLEET_MAX_IMAGE_BYTES"):
        reader().read(site.url("/endless"), LIMIT)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a self-signed certificate for photos.test, and its key."""
    file = tmp_path_factory.mktemp("tls") / "photos.test.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=photos.test", "-keyout", str(file)]
    command += ["-addext", "subjectAltName=DNS:photos.test", "-out", str(file) + ".crt"]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


@pytest.fixture
def safe_site(certificate: Path) -> Iterator[Site]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    yield from serving(context)


def test_tls_verifies_the_name_that_was_asked_for(certificate: Path, safe_site: Site) -> None:
    names = Names({"photos.test": ["127.0.0.1"], "other.test": ["127.0.0.1"]})
    web = reader(resolve=names, tls=ssl.create_default_context(cafile=str(certificate)))
    url = f"https://photos.test:{safe_site.port}/image"
    assert web.read(url, LIMIT) == (IMAGE, "v1")
    with pytest.raises(SourceUnreachable, match=r"certificate is not valid for 'other.test'"):
        web.read(url.replace("photos", "other"), LIMIT)


def test_an_unknown_certificate_is_not_trusted(safe_site: Site) -> None:
    names = Names({"photos.test": ["127.0.0.1"]})
    with pytest.raises(SourceUnreachable, match="certificate verify failed"):
        reader(resolve=names).read(f"https://photos.test:{safe_site.port}/image", LIMIT)


@pytest.mark.parametrize("path", ["/dripping/head", "/dripping/body"])
def test_the_time_limit_holds_with_tls_too(path: str, certificate: Path, safe_site: Site) -> None:
    tls = ssl.create_default_context(cafile=str(certificate))
    names = Names({"photos.test": ["127.0.0.1"]})
    start = time.monotonic()
    with pytest.raises(SourceUnreachable, match="within"):
        reader(seconds=0.3, resolve=names, tls=tls).read(
            f"https://photos.test:{safe_site.port}{path}", LIMIT
        )
    assert time.monotonic() - start < 2
