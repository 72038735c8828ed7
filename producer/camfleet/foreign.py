"""Text that others wrote, made fit for people: nothing that steers a terminal, no secrets of URLs.

Labels, URIs, ETags and what servers say come from strangers. Whoever shows such text, in a terminal
or a log, uses these functions. What programs read, such as JSON, CSV and rows, has it as it is.
"""

import re
import unicodedata
from urllib.parse import unquote

HIDDEN = "**"

# Signs without any width that count as letters or marks; formats and controls aren't printable.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# Emoji of several signs, of which the invisible ones change what is seen: by their form those that
# Unicode lists (emoji-zwj-sequences.txt). A joiner between other signs would hide.
_COLOUR = "[\U0001f3fb-\U0001f3ff]?"
_PERSON = f"[👦-👩🧑👶🧒]{_COLOUR}"
_ACTIVE = (
    f"[⛹🏃-🏄🏊-🏌👮👯👰👱👳👷💁💂💆💇🕵🙅-🙇🙋🙍🙎🚣🚴-🚶🤦🤵🤷-🤹🤼-🤾🦸🦹🧍-🧏🧔🧖-🧟]{_COLOUR}"
)
_TOOL = "[⚕⚖✈🌾🍳🍼🎄🎓🎤🎨🏫🏭💻💼🔧🔬🚀🚒🦯🦰-🦳🦼🦽🩰]"
_SYMBOL = (
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u2460-\u24ff\u25a0-\u27bf"
    "\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001f3fa\U0001f400-\U0001faff]"
)
_EMOJI = (  # `+` stands for a joiner, `*` for a sign that asks for colours
    f"{_PERSON}+{_TOOL}*(?:+➡*)?",
    f"{_PERSON}+(?:❤*+(?:💋+)?|[🤝🐰🫯]+){_PERSON}",
    f"{_PERSON}(?:+{_PERSON}){{1,3}}",
    f"{_ACTIVE}*+[♀♂]*(?:+➡*)?",
    f"[🏃🚶🧎]{_COLOUR}+➡*",
    *("🏳*+(?:🌈|⚧*)", "🏴+☠*", "👁*+🗨*", "⛓*+💥", "🐈+⬛", "🐕+🦺", "🐻+❄*", "🐦+[⬛🔥]"),
    *("❤*+[🔥🩹]", "🍋+🟩", "🍄+🟫", "😮+💨", "😵+💫", "😶+🌫*", "🙂+[↔↕]*"),
)
_JOINED = re.compile(
    "|".join(form.replace("+", "\u200d").replace("*", "\ufe0f?") for form in _EMOJI)
    + f"|[0-9#*]\ufe0f\u20e3|{_SYMBOL}[\ufe0e\ufe0f]"
)
_SHORT = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}

# Behind a scheme a password may have spaces. No two starts read the same signs: that's linear.
_USER = re.compile(r"((?<=:)//?(?!/)[^/?#\n]*|//[^/?#\s]*|(?<=:)\\+[^\\/?#\n]*)@")
_FORMS = {":PASSWORD", "USER:PASSWORD"}  # that messages have in the place of a login
_USER_OF_URL = re.compile(r"//[^/?#]*@")
_SERVER = re.compile(r"([a-z]*://|)(?:[^/?#]*@)?([^/?#]*).*", re.DOTALL | re.IGNORECASE)
_PARAMETER = re.compile(r"([?&;#])([^=&;#?\s'\"<>]+)=([^&;#\s'\"<>]+)")
_ENCODED = re.compile(  # of a whole URL within a path
    r"%(?:25)*(?:3F|26|3B|23)([\w.-]+)%(?:25)*3D([^&;#\s'\"<>]+)", re.ASCII | re.IGNORECASE
)
_NAMES = (  # of parameters, in lower case and letters only
    *("signature", "credential", "token", "secret", "passw", "pwd", "oauth", "session", "jwt"),
    *("policy", "hmac", "accesskey", "accessid", "apikey", "keypair", "subscriptionkey"),
)
_WHOLE_NAMES = {"auth", "authorization", "pass", "sign", "hdnts", "hdnea", "hdntl"}
_OPAQUE = re.compile(r"[\w%+=~]{32,}|[\w%+=~-]{38,}|eyJ[\w.-]+", re.ASCII)  # a UUID has 36
_DECODINGS = 4  # that a value may need


def visible(text: str) -> str:
    r"""Return text of which every sign shows; the others are escaped as JSON does, `\u001b`.

    These are controls, line breaks, signs of no width, those that turn the direction of writing,
    and halves of surrogate pairs. What makes one emoji of several stays.
    """
    if text.isprintable() and (text.isascii() or not _UNSEEN.search(text)):
        return text
    found, place = [], 0
    for emoji in _JOINED.finditer(text):
        found += [*map(_seen, text[place : emoji.start()]), emoji[0]]
        place = emoji.end()
    return "".join((*found, *map(_seen, text[place:])))


def visible_lines(text: str) -> str:
    """Return lines of text of which every sign shows; JSON stays what it is."""
    if visible(plain := text.replace("\n", "")) is plain:
        return text
    return "\n".join(map(visible, text.split("\n")))


def without_secrets(text: str) -> str:
    """Return text without the passwords and signatures of the URLs in it.

    `**` stands for a user with password, and for the value of a parameter that says by its name
    that it's secret, looks like a key, or is a URL with such a parameter.
    """
    if "@" in text:
        text = _USER.sub(_hide_user, text)
    if "=" in text:
        text = _PARAMETER.sub(_hide_value, text)
    return _ENCODED.sub(_hide_value, text) if "%" in text else text


def shown_url(url: str) -> str:
    """Return a URL without its secrets; unlike those within a text it may have spaces."""
    return without_secrets(_USER_OF_URL.sub(f"//{HIDDEN}@", url, count=1))


def server_of(url: str) -> str:
    """Return the part of a URL that names the server; the path of some is a password too."""
    return _SERVER.sub(r"\1\2", url, count=1)


def path_of(uri: str) -> str:
    """Return the path in a URI, decoded, or a plain path as it is; what is no URI is taken too."""
    scheme, sign, rest = uri.partition("://")
    if not sign:
        return uri
    if scheme.lower() not in ("s3", "gs"):  # whose keys are taken as they stand
        rest = unquote(re.split(r"[?#]", rest, maxsplit=1)[0], errors="replace")
    return rest[rest.find("/") :] if "/" in rest else ""


def _seen(sign: str) -> str:
    shows = sign.isprintable() or unicodedata.category(sign) == "Zs"  # a space of some width
    return sign if shows and not _UNSEEN.match(sign) else _escaped(sign)


def _escaped(sign: str) -> str:
    pair = sign.encode("utf-16-be", "surrogatepass").hex()
    return _SHORT.get(sign) or "".join(
        rf"\u{pair[place : place + 4]}" for place in range(0, len(pair), 4)
    )


def _hide_user(found: re.Match[str]) -> str:
    login = found[1].lstrip("/\\")
    if login in _FORMS:
        return found[0]
    return f"{found[1].removesuffix(login)}{HIDDEN}@"


def _hide_value(found: re.Match[str]) -> str:
    """Return a parameter, with `**` for a value that is secret; the value is the last group."""
    *_, name, value = found.groups()
    whole = found[0]
    return whole.removesuffix(value) + HIDDEN if _is_secret(name, value) else whole


def _is_secret(name: str, value: str) -> bool:
    letters = "".join(filter(str.isalpha, unquote(name))).lower()
    if (
        letters in _WHOLE_NAMES
        or letters.endswith("sig")
        or any(word in letters for word in _NAMES)
    ):
        return True
    return _OPAQUE.fullmatch(value) is not None or _holds_secrets(value)


def _holds_secrets(value: str) -> bool:
    """Return whether an encoded value is a URL with secrets, or encoded too often to tell."""
    plain = value
    for _ in range(_DECODINGS):
        if plain == (plain := unquote(plain)):
            return plain != value and without_secrets(plain) != plain
    return True
