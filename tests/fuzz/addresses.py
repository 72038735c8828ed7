"""Spellings of addresses, paths and keys that lead where nobody may go."""

from ipaddress import IPv4Address, ip_address
from urllib.parse import quote

from hypothesis import strategies as st

_HOSTS = ["127.0.0.1", "169.254.169.254", "10.1.2.3", "192.168.0.1", "0.0.0.0", "168.63.129.16"]
_HOSTS += ["100.100.100.200", "172.16.0.9", "100.64.1.1", "224.0.0.1", "255.255.255.255", "8.8.8.8"]
_HOSTS += ["::1", "fd00:ec2::254", "fe80::1", "::", "ff02::1", "2001:db8::1", "2606:4700::1111"]
_NAMES = [
    "localhost",
    "LOCALHOST.",
    "metadata.google.internal",
    "example.org",
    "xn--a",
    "\uff4cocalhost",
]
_SIGNS = [*"/\\?#@:%. \t\r\n\0[]();,*&=+$!'\"<>|^`{}~", "%2f", "%00", "%0d%0a", "。", "\u200b", "é"]
_DIGITS = {ord("0") + digit: chr(0xFF10 + digit) for digit in range(10)}  # full width


def _plain(address: IPv4Address) -> str:
    return str(address)


def _mapped(prefix: str) -> object:
    return lambda address: f"[{prefix}{address}]"


def _teredo(address: IPv4Address) -> str:
    high, low = divmod(~int(address) & 0xFFFFFFFF, 2**16)
    return f"[2001:0:1:2:3:4:{high:x}:{low:x}]"


def _six(address: IPv4Address) -> str:
    high, low = divmod(int(address), 2**16)
    return f"[2002:{high:x}:{low:x}::1]"


def _parts(address: IPv4Address, form: str) -> str:
    return ".".join(format(part, form) for part in address.packed)


def _short(address: IPv4Address) -> str:
    first = address.packed[0]
    return f"{first}.{int(address) & 0xFFFFFF}"


_SPELLINGS = [
    _plain,
    *map(_mapped, ("::ffff:", "64:ff9b::", "::", "64:ff9b:1::", "::ffff:0:", "fe80::5efe:")),
    _teredo,
    _six,
    _short,
    lambda address: str(int(address)),
    lambda address: hex(int(address)),
    lambda address: f"0{int(address):o}",
    lambda address: _parts(address, "#x"),
    lambda address: "0" + ".0".join(f"{part:o}" for part in address.packed),
    lambda address: _parts(address, "03d"),
    lambda address: str(address).translate(_DIGITS),
    lambda address: quote(str(address), safe="").replace(".", "%2e"),
    lambda address: f"{address}.",
    lambda address: f"{address}%00.example.org",
    lambda address: str(address).replace(".", "。"),
    lambda address: f"{address}@example.org",
    lambda address: f"example.org@{address}",
    lambda address: f"{address}.nip.io",
]


@st.composite
def _hosts(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(_HOSTS + _NAMES))
    try:
        address = ip_address(name)
    except ValueError:
        return name
    if isinstance(address, IPv4Address):
        return str(draw(st.sampled_from(_SPELLINGS))(address))
    zone = draw(st.sampled_from(["", "", "%25eth0", "%lo", "%1"]))
    spelt = draw(st.sampled_from([str(address), address.exploded, str(address).upper()]))
    return f"[{spelt}{zone}]"


_webs = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(
        ["http://", "https://", "HTTP://", "http:", "http:/", "//", "http:\\\\", "ftp://"]
    ),
    st.sampled_from(["", "", "", "user@", "user:pass@", "a@b@", "%40@", ":@"]),
    _hosts(),
    st.sampled_from(["", "", ":80", ":", ":99999", ":0", ":6379", ":\uff18", ":-1", ":80:81"]),
    st.sampled_from(["", "/a.png", "/?a#b", "#@8.8.8.8/", "?@8.8.8.8", "\\@8.8.8.8", "/%zz", "/é"]),
)
_files = st.builds(
    "{}{}".format,
    st.sampled_from(["", "file://", "file:", "FILE://", "file://localhost", "file://elsewhere"]),
    st.sampled_from(
        [
            *("FOLDER/open/a.png", "FOLDER/open/../secret", "FOLDER/open/link", "/etc/passwd"),
            *("FOLDER/open/%2e%2e/secret", "FOLDER/open/deep/%2e%2e", "FOLDER/open/./a.png"),
            *("FOLDER/open//a.png", "FOLDER/openly", "FOLDER/open", "FOLDER/open/deep/b%20c.png"),
            *(
                "/proc/self/environ",
                "/dev/zero",
                "/proc/self/fd/0",
                "a.png",
                "~/a.png",
                "//etc/passwd",
            ),
            "FOLDER/open/deep/../../secret",
        ]
    ),
)
_objects = st.builds(
    "{}{}/{}".format,
    st.sampled_from(["s3://", "S3://", "s3:/", "s3a://", "s3:///", "s3:"]),
    st.sampled_from(
        ["own", "other", "OTHER", "own@other", "other%2fphotos", "", ".", "other.", "a b"]
    ),
    st.sampled_from(
        [
            *("a.png", "photos/a.png", "photos/../secret", "photos", "photosecret", "photos//../x"),
            *("", "/photos/a", "photos%2f..%2fsecret", "./photos/a", "PHOTOS/a", "photos\\..\\x"),
        ]
    ),
)
_edits = st.lists(st.tuples(st.integers(0, 80), st.sampled_from(_SIGNS), st.booleans()), max_size=3)


@st.composite
def hostile_uris(draw: st.DrawFn) -> bytes:
    """Return a URI that should lead nowhere, in a spelling that may be read as another one."""
    uri = draw(st.one_of(_webs, _webs, _files, _objects))
    for place, sign, replaces in draw(_edits):
        at = place % (len(uri) + 1)
        uri = uri[:at] + sign + uri[at + replaces :]
    return uri.encode("utf-8", "surrogateescape")
