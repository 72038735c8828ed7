"""Browsers sign in with a token and get a cookie: what it opens, for whom, and for how long."""

import json
import re
from contextlib import closing
from datetime import UTC, datetime
from http.cookies import SimpleCookie

import pytest

from camfleet.broker.redis import redis_client
from camfleet.broker.sessions import MOST_SESSIONS
from camfleet.gateway.access.tokens import Tokens
from camfleet.storage.storage import Storage
from helpers.gateway import gateway
from helpers.waiting import wait_until

OWN = {"Sec_Fetch_Site": "same-origin"}
PATH = "/v1/models"


@pytest.fixture(scope="module")
def tokens(settings):
    with closing(Storage(settings)) as storage:
        yield Tokens(storage)


@pytest.fixture(scope="module")
def start(environ, tmp_path_factory):
    def started(*options):
        return gateway(environ, tmp_path_factory.mktemp("gateway"), None, *options)

    return started


@pytest.fixture(scope="module")
def web(start):
    with start() as started:
        yield started


@pytest.fixture
def token(tokens):
    return tokens.create("ann", ("explain", "jobs:read"), 1)


def sign_in(web, text, **headers):
    return web.ask("POST", "/v1/session", {"token": text}, **(headers or OWN))


def cookie_of(answer):
    """Return the one cookie that an answer sets."""
    (found,) = SimpleCookie(answer.headers["set-cookie"]).values()
    return found


def ask(web, cookie, method="GET", path=PATH, **headers):
    return web.ask(method, path, Cookie=f"{cookie.key}={cookie.value}", **(headers or OWN))


def test_a_session_opens_what_its_token_opens_and_scripts_never_see_its_secret(web, token):
    text, record = token
    answer = sign_in(web, text)
    cookie = cookie_of(answer)
    assert answer.json == {
        "owner": "ann",
        "scopes": ["explain", "jobs:read"],
        "expires_at": f"{datetime.fromtimestamp(record.expires_at, UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
    }
    assert cookie["httponly"]
    assert (cookie["samesite"], cookie["path"], cookie["secure"]) == ("strict", "/", "")
    assert text not in answer.headers["set-cookie"]
    assert ask(web, cookie).status == 200
    assert ask(web, cookie, path="/v1/session").json["owner"] == "ann"
    assert ask(web, cookie, "POST", "/v1/jobs").json["code"] == "forbidden"  # a scope it lacks


def test_who_is_not_signed_in_is_nobody_and_that_is_no_error(web):
    assert web.ask("GET", "/v1/session", **OWN).json is None
    assert web.ask("GET", "/v1/session", token="cf_0_0").status == 401


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"Sec_Fetch_Site": "cross-site"}),
        ("GET", {"Sec_Fetch_Site": "same-site"}),
        ("POST", {"Sec_Fetch_Site": "none"}),
        ("GET", {"Accept": "*/*"}),  # no browser of this decade
        ("POST", {"Origin": "http://evil.example"}),
        ("GET", {"Sec_Fetch_Site": "same-origin", "Origin": "http://evil.example"}),
        ("GET", {"Sec_Fetch_Site": "same-origin", "Origin": "null"}),
        ("GET", {"Sec_Fetch_Site": "same-origin", "Origin": "http://127.0.0.1:1"}),
    ],
)
def test_other_sites_can_not_use_a_session(web, token, method, headers):
    cookie = cookie_of(sign_in(web, token[0]))
    path = PATH if method == "GET" else "/v1/uploads"
    answer = ask(web, cookie, method, path, **headers)
    assert (answer.status, answer.json["code"]) == (403, "other_site")


def test_an_address_that_is_typed_may_be_read(web, token):
    cookie = cookie_of(sign_in(web, token[0]))
    assert ask(web, cookie, Sec_Fetch_Site="none").status == 200


def test_other_sites_can_neither_sign_a_browser_in_nor_out(web, token):
    text, _ = token
    assert sign_in(web, text, Sec_Fetch_Site="cross-site").status == 403
    cookie = cookie_of(sign_in(web, text))
    assert ask(web, cookie, "DELETE", "/v1/session", Sec_Fetch_Site="cross-site").status == 403
    assert ask(web, cookie).status == 200


def test_who_signs_out_is_out_at_every_gateway(web, start, token):
    with start() as other:
        cookie = cookie_of(sign_in(web, token[0]))
        assert ask(other, cookie).status == 200
        gone = ask(other, cookie, "DELETE", "/v1/session")
        assert (gone.status, cookie_of(gone)["max-age"]) == (204, "0")
        assert ask(web, cookie).json["detail"] == "the session has ended: sign in again"


def test_a_session_ends_with_its_token(web, tokens, token):
    text, record = token
    cookie = cookie_of(sign_in(web, text))
    tokens.revoke(record.id)
    wait_until(lambda: ask(web, cookie).status == 401, 10)
    short, _ = tokens.create("ann", ("explain",), 3 / 86400)
    cookie = cookie_of(sign_in(web, short))
    assert int(cookie["max-age"]) <= 3
    wait_until(lambda: ask(web, cookie).status == 401, 10)


def test_a_session_that_redis_forgets_is_over(web, token, settings):
    cookie = cookie_of(sign_in(web, token[0]))
    with redis_client(settings) as redis:
        redis.delete(*redis.keys("camfleet:session:*"))
    assert ask(web, cookie).status == 401


def test_redis_has_no_secret_and_forgets_sessions_by_itself(web, token, settings):
    cookie = cookie_of(sign_in(web, token[0]))
    with redis_client(settings) as redis:
        found = {key: (redis.get(key), redis.ttl(key)) for key in redis.keys("camfleet:session:*")}
    assert found
    assert cookie.value not in str(found)
    assert all(0 < seconds <= 12 * 3600 for _, seconds in found.values())


@pytest.mark.parametrize(
    "cookie",
    ["camfleet=", "camfleet=short", f"camfleet={'x' * 43}", 'camfleet="; other=1', "\xff=1", "a b"],
)
def test_a_cookie_that_is_none_of_ours_opens_nothing(web, cookie):
    assert web.ask("GET", PATH, Cookie=cookie, **OWN).status == 401


@pytest.mark.parametrize(
    "other",
    [
        'x={"a": 1}',
        'x="a\\"',
        "x[0]=1",
        "a@b=1",
        "a b=1",
        "path=/",
        "=nameless",
        "camfleet",
        "\xe9=1",
        "camfleet=other",
    ],
)
def test_cookies_of_others_are_no_hindrance_whatever_their_form(web, token, other):
    cookie = cookie_of(sign_in(web, token[0]))
    own = f"{cookie.key}={cookie.value}"
    for both in (f"{other}; {own}", f"{own}; {other}", f"{other};{own}"):
        assert web.ask("GET", PATH, Cookie=both, **OWN).status == 200, both


def test_a_token_in_the_header_counts_and_no_session_replaces_it(web, token):
    cookie = cookie_of(sign_in(web, token[0]))
    named = {"Cookie": f"{cookie.key}={cookie.value}", **OWN}
    assert web.ask("GET", PATH, token="cf_0_0", **named).status == 401
    assert web.ask("GET", PATH, token=token[0], Sec_Fetch_Site="cross-site").status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"token": "cf_0123456789abcdef_" + "x" * 43}, 401),
        ({"token": ""}, 401),
        ({"token": 1}, 422),
        ({}, 422),
        ({"token": "x", "more": 1}, 422),
        ({"token": "x" * 5000}, 413),
    ],
)
def test_a_token_that_is_none_signs_nobody_in(web, body, status):
    answer = web.ask("POST", "/v1/session", body, **OWN)
    assert answer.status == status
    assert "set-cookie" not in answer.headers


def test_behind_tls_and_a_prefix_the_cookie_is_secure_and_addresses_begin_with_the_prefix(
    start, token
):
    with start("--behind-tls", "--root-path", "/tools/camfleet") as web:
        answer = sign_in(web, token[0])
        cookie = cookie_of(answer)
        assert cookie.key == "__Secure-camfleet"
        assert (cookie["path"], cookie["secure"]) == ("/tools/camfleet/", True)
        plain = answer.headers["set-cookie"].replace("__Secure-", "").partition(";")[0]
        assert web.ask("GET", PATH, Cookie=plain, **OWN).status == 401


def test_behind_tls_no_other_host_of_the_domain_can_set_the_cookie(start, token):
    with start("--behind-tls") as web:
        cookie = cookie_of(sign_in(web, token[0]))
        assert cookie.key == "__Host-camfleet"
        assert (cookie["path"], cookie["secure"], cookie["domain"]) == ("/", True, "")
        assert ask(web, cookie).status == 200
        loose = f"__Secure-camfleet={cookie.value}"
        assert web.ask("GET", PATH, Cookie=loose, **OWN).status == 401


@pytest.mark.parametrize("path", ["camfleet", "/camfleet/", "/a b", "/..;", "//"])
def test_a_prefix_that_is_no_path_is_refused_at_the_start(start, path):
    with pytest.raises(AssertionError, match="--root-path"), start("--root-path", path):
        pass


def test_the_page_needs_no_token_and_is_sent_again_only_if_it_changed(web):
    answer = web.ask("GET", "/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    tag = answer.headers["etag"]
    again = web.ask("GET", "/", If_None_Match=tag)
    assert (again.status, again.body) == (304, b"")
    packed = web.ask("GET", "/", Accept_Encoding="gzip, br")
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["etag"] != tag
    assert web.ask("HEAD", "/").body == b""


@pytest.mark.parametrize(
    "path",
    [
        *("/page/", "/page/../guard.py", "/page/%2e%2e/guard.py", "/page//etc/passwd"),
        *("/page/views/", "/page/index.html", "/page/app.js/", "/page/%00", "/page/APP.JS", "//"),
    ],
)
def test_no_other_path_leads_to_a_file(web, path):
    assert web.ask("GET", path).status == 401


def test_every_address_in_the_page_is_there_and_relative(web):
    html = web.ask("GET", "/").body.decode()
    addresses = re.findall(r'(?:href|src)="([^"#]+)"', html)
    assert len(addresses) >= 3
    for address in addresses:
        assert not address.startswith(("/", "http"))
        assert web.ask("GET", f"/{address}").status == 200


def test_the_description_says_how_to_sign_in(web, token):
    told = web.ask("GET", "/openapi.json", token=token[0]).json
    assert set(told["paths"]["/v1/session"]) == {"get", "post", "delete"}
    assert json.dumps(told).count("/page/") == 0


def test_of_too_many_sessions_of_a_token_the_oldest_end(web, token, settings):
    text, record = token
    cookies = [cookie_of(sign_in(web, text)) for _ in range(MOST_SESSIONS + 2)]
    opened = [ask(web, cookie).status for cookie in (*cookies[:3], cookies[-1])]
    assert opened == [401, 401, 200, 200]
    with closing(redis_client(settings)) as redis:
        assert redis.zcard(f"camfleet:sessions:{record.id}") == MOST_SESSIONS
        ask(web, cookies[-1], "DELETE", "/v1/session")
        assert redis.zcard(f"camfleet:sessions:{record.id}") == MOST_SESSIONS - 1
        assert 0 < redis.ttl(f"camfleet:sessions:{record.id}") <= 12 * 3600
