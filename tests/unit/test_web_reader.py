"""Reading over http: what answers mean, where redirects may lead, whom the guard lets through."""

import ipaddress
import threading
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from camfleet.errors import (
    CamfleetError,
    ImageError,
    ImageNotFound,
    SourceForbidden,
    SourceUnreachable,
)
from camfleet_worker.web.guard import Address
from helpers.web_server import IMAGE, LIMIT, Names, Site, client, reader, serving


@pytest.fixture
def site() -> Iterator[Site]:
    yield from serving()


def only(*addresses: str) -> Callable[[Address], bool]:
    return lambda address: address in map(ipaddress.ip_address, addresses)


def test_the_bytes_and_the_etag_are_returned(site: Site) -> None:
    assert reader().read(site.url("/image"), LIMIT) == (IMAGE, "v1")
    assert reader().read(site.url("/chunked/3+2"), LIMIT) == (b"xxxxx", None)


def test_nothing_is_decoded_on_the_way(site: Site) -> None:
    assert reader().read(site.url("/zipped"), LIMIT)[0] == b"\x1f\x8b left as it is"
    assert site.requests[0][1]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, ImageNotFound),
        (410, ImageNotFound),
        (401, SourceForbidden),
        (403, SourceForbidden),
        (400, ImageError),
        (418, ImageError),
        (204, ImageError),
        (304, ImageError),
        (429, SourceUnreachable),
        (500, SourceUnreachable),
        (503, SourceUnreachable),
    ],
)
def test_a_status_says_whether_to_try_again(
    status: int, kind: type[CamfleetError], site: Site
) -> None:
    with pytest.raises(CamfleetError, match=f"answers {status}$") as caught:
        reader().read(site.url(f"/status/{status}"), LIMIT)
    assert type(caught.value) is kind


def test_five_redirects_are_followed_and_no_more(site: Site) -> None:
    assert reader().read(site.url("/hops/5"), LIMIT)[0] == IMAGE
    with pytest.raises(ImageError, match="more than 5 times"):
        reader().read(site.url("/hops/6"), LIMIT)


@pytest.mark.parametrize(
    ("sent", "asked"),
    [
        ("rosé.jpg".encode(), "ros%C3%A9.jpg"),
        ("Århus à".encode(), "%C3%85rhus%20%C3%A0"),  # bytes that are a line end and a space
        ("写真/猫.jpg?größe=2".encode(), "%E5%86%99%E7%9C%9F/%E7%8C%AB.jpg?gr%C3%B6%C3%9Fe=2"),
        ("ros%C3%A9 é.jpg".encode(), "ros%C3%A9%20%C3%A9.jpg"),
        ("rosé.jpg".encode("latin-1"), "ros%E9.jpg"),
        (b"plain%2Fpath", "plain%2Fpath"),
    ],
)
def test_a_redirect_is_followed_to_the_bytes_that_its_header_holds(
    sent: bytes, asked: str, site: Site
) -> None:
    assert reader().read(site.url(f"/raw//image/{quote(sent)}"), LIMIT)[0] == IMAGE
    assert site.requests[-1][0] == f"/image/{asked}"


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a", "gopher://x/1"])
def test_a_redirect_leads_nowhere_but_to_http(target: str, site: Site) -> None:
    with pytest.raises(SourceForbidden, match="neither http nor https"):
        reader().read(site.url(f"/to/{target}"), LIMIT)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:7f00:1]"]
)
def test_private_addresses_are_refused_however_they_are_written(host: str, site: Site) -> None:
    expected = "(is not|does not have) a public address; .*CAMFLEET_ALLOW_PRIVATE_HOSTS=1"
    with pytest.raises(SourceForbidden, match=expected):
        reader(private=False).read(site.url("/image", host), LIMIT)
    assert site.requests == []


METADATA = ("169.254.169.254", "168.63.129.16", "100.100.100.200", "fd00:ec2::254")


@pytest.mark.parametrize("address", METADATA)
def test_the_setting_does_not_open_the_metadata_of_the_cloud(address: str, site: Site) -> None:
    host = f"[{address}]" if ":" in address else address
    refused = f"{address} is not a public address, nor one"
    with pytest.raises(SourceForbidden, match=refused):
        reader().read(f"http://{host}/latest/meta-data", LIMIT)
    with pytest.raises(SourceForbidden, match=refused):
        reader().read(site.url(f"/raw/{quote(f'http://{host}/latest')}"), LIMIT)
    with pytest.raises(SourceForbidden, match=refused):
        client().post(f"http://{host}/", b"", {}, 5)
    names = Names({"metadata.google.internal": [address]})
    with pytest.raises(SourceForbidden, match="does not have a public address, nor one") as info:
        reader(resolve=names).read("http://metadata.google.internal/", LIMIT)
    assert address not in str(info.value)  # which is the network's own affair


def test_a_redirect_into_the_private_network_is_refused(site: Site) -> None:
    names = Names({"photos.test": ["127.0.0.1"], "inside.test": ["127.0.0.2"]})
    guarded = reader(resolve=names, permits=only("127.0.0.1"))
    target = site.url("/image", "inside.test")
    with pytest.raises(SourceForbidden, match=r"inside.test does not have a public address"):
        guarded.read(site.url(f"/to/{target}", "photos.test"), LIMIT)
    assert [path for path, _ in site.requests] == [f"/to/{target}"]


def test_the_address_that_was_checked_is_the_one_connected_to(site: Site) -> None:
    # The name means nothing to the system's resolver, and it's asked for once.
    names = Names({"photos.test": ["127.0.0.3", "127.0.0.1"]})
    guarded = reader(resolve=names, permits=only("127.0.0.1"))
    assert guarded.read(site.url("/image", "photos.test"), LIMIT)[0] == IMAGE
    assert names.asked == ["photos.test"]
    assert site.requests[0][1]["Host"] == f"photos.test:{site.port}"


def test_the_next_address_is_tried_when_one_does_not_answer(site: Site) -> None:
    names = Names({"photos.test": ["127.0.0.4", "127.0.0.1"]})  # nobody listens on the first
    guarded = reader(resolve=names, permits=only("127.0.0.4", "127.0.0.1"))
    assert guarded.read(site.url("/image", "photos.test"), LIMIT)[0] == IMAGE


def test_connections_are_kept_and_shared_by_threads(site: Site) -> None:
    web = reader()
    for path in ("/image", "/to//image", "/chunked/3"):
        web.read(site.url(path), LIMIT)
    with pytest.raises(ImageNotFound):
        web.read(site.url("/status/404"), LIMIT)
    web.read(site.url("/image"), LIMIT)
    assert list(site.connections.values()) == [6]
    threads = [
        threading.Thread(target=web.read, args=(site.url("/image"), LIMIT)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(site.connections.values()) == 6 + 8


def test_a_kept_connection_that_the_server_closes_is_replaced(site: Site) -> None:
    web = reader()
    assert web.read(site.url("/dropped"), LIMIT)[0] == IMAGE
    assert web.read(site.url("/dropped"), LIMIT)[0] == IMAGE
    assert sorted(site.connections.values()) == [1, 2]


def test_a_password_goes_to_its_own_host_only(site: Site) -> None:
    names = Names({"photos.test": ["127.0.0.1"], "other.test": ["127.0.0.1"]})
    web = reader(resolve=names)
    target = site.url("/image", "other.test")
    web.read(f"http://me:s%40fe@photos.test:{site.port}/to/{target}", LIMIT)
    (_, first), (_, second) = site.requests
    assert first["Authorization"] == "Basic bWU6c0BmZQ=="  # me:s@fe
    assert "Authorization" not in second
    for path in ("/status/404", "/announced/2000", "/announced/900"):
        with pytest.raises(CamfleetError, match=r"//\*\*@photos.test") as caught:
            web.read(f"http://me:s%40fe@photos.test:{site.port}{path}", LIMIT)
        assert "fe@" not in str(caught.value)


def test_proxies_of_the_environment_are_not_used(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert reader().read(site.url("/image"), LIMIT)[0] == IMAGE


def test_a_server_that_is_not_there_may_be_tried_again() -> None:
    with pytest.raises(SourceUnreachable, match=r"127.0.0.4 .* does not answer"):
        reader().read("http://127.0.0.4:9/image", LIMIT)
    impossible = "a" * 64 + ".test"  # found out without asking the network
    with pytest.raises(SourceUnreachable, match=f"{impossible} does not resolve"):
        reader().read(f"http://{impossible}/image", LIMIT)


@pytest.mark.parametrize("url", ["http://", "http://[::1/a", "http://a:99999/", "http:///a.jpg"])
def test_a_malformed_url_is_the_callers_fault(url: str) -> None:
    with pytest.raises(ImageError, match="is not a URL"):
        reader().read(url, LIMIT)
