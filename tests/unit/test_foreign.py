"""Text of strangers: what is shown of it steers no terminal, and holds no secrets of URLs."""

import json
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camfleet.addresses import normalize
from camfleet.errors import CamfleetError, ConfigurationError, ImageNotFound, from_code
from camfleet.foreign import shown_url, visible, without_secrets

SPECIAL = "\0\a\b\t\n\v\f\r\x1b\x7f\x85\x9b\u200b\u200e\u202a\u202e\u2028\u2066\u2069\ufeff\udcff"
SECRET = "geheim"


@pytest.mark.parametrize("sign", SPECIAL)
def test_a_sign_that_steers_or_hides_is_written_out_as_json_does(sign):
    shown = visible(f"a{sign}b")
    assert shown.isprintable()
    assert json.loads(f'"{shown}"') == f"a{sign}b"


@pytest.mark.parametrize("sign", ["\u3164", "\u115f", "\U000e0041", "\U0001d173"])
def test_a_sign_without_width_is_written_out(sign):
    shown = visible(f"a{sign}b")
    assert shown.startswith(r"a\u")
    assert json.loads(f'"{shown}"') == f"a{sign}b"


@pytest.mark.parametrize("text", ["große Größe", "写真 😀", "at\u202f3.12 PM", r"C:\new"])
def test_what_can_be_read_stays_as_it_is(text):
    assert visible(text) == text


EMOJI = [
    *("👩\u200d🔬", "👨🏽\u200d✈\ufe0f", "👩\u200d👩\u200d👧\u200d👦", "🧑🏻\u200d🤝\u200d🧑🏿"),
    *(
        "👩\u200d❤\ufe0f\u200d💋\u200d👨",
        "🏃🏽\u200d♀\ufe0f\u200d➡\ufe0f",
        "🏳\ufe0f\u200d🌈",
        "🐻\u200d❄\ufe0f",
    ),
    *(
        "❤\ufe0f\u200d🔥",
        "1\ufe0f\u20e3",
        "☀\ufe0f",
        "☺\ufe0e",
        "🤷🏼\u200d♂\ufe0f",
        "🏴\u200d☠\ufe0f",
    ),
]


@pytest.mark.parametrize("emoji", EMOJI, ids=ascii)
def test_an_emoji_of_several_signs_stays_whole(emoji):
    assert visible(f"a {emoji} b\u200d") == f"a {emoji} b\\u200d"
    assert visible(emoji + emoji) == emoji + emoji


@pytest.mark.parametrize(
    "text",
    [
        *(
            "ro\u200dse",
            "🔥\u200d🔥",
            "👩\u200d",
            "\u200d👩",
            "👩\u200d\u200d🔬",
            "👩\u200da",
            "a\u200d🔬",
        ),
        *(
            "👨\u200d🔥",
            "rose\ufe0f",
            "1\ufe0f",
            "葛\U000e0100",
            "☀\ufe0f\ufe0f",
            "🐈\u200d⬛\u200d",
            "ᠠ\u180b",
        ),
    ],
    ids=ascii,
)
def test_a_joiner_that_joins_nothing_is_written_out(text):
    shown = visible(text)
    assert shown != text
    assert json.loads(f'"{shown}"') == text


@given(st.text())
def test_no_text_leaves_anything_to_a_terminal(text):
    kinds = {unicodedata.category(sign) for sign in visible(text).replace("\u200d", "")}
    assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@host:6379/0",
        f"https://user:{SECRET}@host/a.png",
        f"https://user:p@ss:{SECRET}@host/a.png",
        f"https:\\\\user:{SECRET}@host",
        f"https:/user:{SECRET}@host",
        f"//user:{SECRET}@host/a.png",
        f"https://user:pa ss {SECRET}@host/a.png",
        f"https://user:pa\\ss{SECRET}@host/a.png",
        f"https://user:pa'ss\"{SECRET}@host/a.png",
        f"https:////user:{SECRET}@host/a.png",
        f"https://h/a.png?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={SECRET}",
        f"https://h/a.png?X-Amz-Signature={SECRET}",
        f"https://h/a.png?X-Amz-Security-Token={SECRET}",
        f"https://h/a.png?AWSAccessKeyId={SECRET}&Expires=1",
        f"https://h/a.png?Expires=1&Signature={SECRET}&Key-Pair-Id=**",
        f"https://h/a.png?Key-Pair-Id={SECRET}",
        f"https://h/a.png?Policy={SECRET}",
        f"https://h/a.png?X-Goog-Signature={SECRET}&X-Goog-Date=1",
        f"https://h/a.png?X-Goog-Credential={SECRET}",
        f"https://h/a.png?GoogleAccessId={SECRET}",
        f"https://h/a.png?sv=2022&se=2030&sp=r&sig={SECRET}",
        f"https://h/a.png?OSSAccessKeyId={SECRET}",
        f"https://h/a.png?x-oss-signature={SECRET}",
        f"https://h/a.png?q-signature={SECRET}",
        f"https://h/a.png?__token__=exp=1~hmac={SECRET}",
        f"https://h/a.png?hdnts=exp=1~hmac={SECRET}",
        f"https://h/a.png?token={SECRET}",
        f"https://h/a.png?v=1;access_token={SECRET}",
        f"https://h/a.png#access_token={SECRET}",
        f"https://h/a.png?apikey={SECRET}",
        f"https://h/a.png?api_key={SECRET}",
        f"https://h/a.png?PASSWORD={SECRET}",
        f"https://h/a.png?%73ig={SECRET}",
        f"https://h/a.png?s={SECRET}0123456789abcdef0123456789abcdef",
        f"https://h/a.png?t=eyJhbGciOiJIUzI1NiJ9.{SECRET}.abc",
        f"https://h/proxy?url=https%3A%2F%2Fo%2Fa%3Fsig%3D{SECRET}",
        f"https://h/proxy?url=https%253A%252F%252Fo%252Fa%253Fsig%253D{SECRET}",
        f"https://h/proxy?url=https%3A%2F%2Fu%3A{SECRET}%40o%2Fa",
        f"https://h/https%3A%2F%2Fo%2Fa%3Fv%3D1%26sig%3D{SECRET}",
        f"https://h/a;jsessionid={SECRET}",
        f"s3://b/a.png?X-Amz-Signature={SECRET}",
    ],
)
def test_passwords_and_signatures_are_hidden_in_urls_and_in_every_error(url):
    for shown in (
        without_secrets(url),
        shown_url(url),
        without_secrets(f"there's no image at '{url}', nor elsewhere"),
        CamfleetError(f"{url} does not exist").message,
        str(from_code("image_not_found", repr(url))),
    ):
        assert SECRET not in shown
        assert "**" in shown
        assert without_secrets(shown) == shown
    assert ImageNotFound(f"{url!r}: gone").message.endswith(": gone")


@pytest.mark.parametrize(
    "text",
    [
        "https://h/a.png?v=1&author=bob&name=%E5%86%99%20x.jpg",
        "https://h/a.png?id=123e4567-e89b-12d3-a456-426614174000",
        "https://h/a.png?path=photos/2024/summer/holidays/IMG_20240101_123456789.jpg",
        "mail@host, a//b",
        "/data/me@work/a.png",
        "s3://b/a@b/c.png",
        'preprocessing.scale needs preprocessing.mode = "scale"',
    ],
)
def test_what_names_an_image_stays(text):
    assert without_secrets(text) == text


@pytest.mark.parametrize("url", ["x", "redis://user@host", "redis://:a@b:99999/0", "unix://a"])
def test_a_message_keeps_the_form_that_a_url_is_to_have(url):
    with pytest.raises(ConfigurationError) as refused:
        normalize(url)
    shown = without_secrets(str(refused.value))
    assert "redis://:PASSWORD@HOST:PORT/DATABASE" in shown
    assert "unix://:PASSWORD@/PATH" in shown
    assert "**" not in shown


def test_a_password_that_looks_like_the_form_is_hidden():
    for login in (f":PASSWORD@{SECRET}", f":PASSWORD{SECRET}", f"USER:{SECRET}", ":password"):
        assert without_secrets(f"redis://{login}@h") == "redis://**@h"


@pytest.mark.parametrize(
    "unit", ["//", ":/", ":\\", "\\", "?a=", "?a=%", "%3Fa%3D", "://a", "%25", "a@"]
)
def test_text_made_to_be_slow_is_not(unit):
    start = time.process_time()
    without_secrets("@" + unit * (200_000 // len(unit)))
    without_secrets("?a=%25" + unit * (200_000 // len(unit)) + "@")
    assert time.process_time() - start < 2


def test_a_password_with_spaces_is_hidden_where_the_text_is_a_url():
    assert shown_url("http://me:s3 cret@a b/x@y") == "http://**@a b/x@y"


@given(st.text(alphabet="?&;#=/:@%253FDdsig token", max_size=200))
def test_hiding_twice_is_hiding_once(text):
    once = without_secrets(text)
    assert without_secrets(once) == once
