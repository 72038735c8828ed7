"""The guard's judgement on addresses: what is the internet and what is somebody's inside."""

from ipaddress import IPv4Address, ip_address

import pytest

from camfleet_worker.web.guard import is_private, is_public


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450:4001:82a::200e"],
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(ip_address(address))
    assert not is_private(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "127.0.0.1",
        "127.9.9.9",
        "100.64.0.1",
        "100.127.255.255",
        "::1",
        "fd00::1",
        "fc12:3456::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:7f00:1::",
        "2002:c0a8:101::1",
    ],
)
def test_private_and_loopback_addresses_are_opened_by_the_setting_only(address: str) -> None:
    assert not is_public(ip_address(address))
    assert is_private(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:a9fe:a9fe::1",
        "3fff::1",
        "5f00::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
    ],
)
def test_special_addresses_are_neither(address: str) -> None:
    assert not is_public(ip_address(address))
    assert not is_private(ip_address(address))


METADATA = [
    "169.254.169.254",  # most clouds
    "169.254.170.2",  # Amazon's containers
    "169.254.170.23",
    "169.254.0.23",  # Tencent
    "169.254.42.42",  # Scaleway
    "169.254.169.250",  # Rancher
    "168.63.129.16",  # Azure
    "100.100.100.200",  # Alibaba
    "192.0.0.192",  # Oracle, of old
    "161.26.0.10",  # IBM
    "166.9.250.194",
]
METADATA_6 = [
    "fd00:ec2::254",  # Amazon
    "fd00:ec2::23",
    "fd20:ce::254",  # Google
    "fd00:c1::a9fe:a9fe",  # Oracle
    "fd00:42::42",  # Scaleway
    "fd00:a9fe:a9fe::1",  # Akamai
    "fe80::a9fe:a9fe",  # OpenStack
    "fe80::1234:5678:9abc",  # Azure
]


def spellings(address: str) -> list[str]:
    """Return the ways in which an IPv6 address can stand for an IPv4 one."""
    digits = f"{int(IPv4Address(address)):08x}"
    high, low = digits[:4], digits[4:]
    return [
        f"::{address}",
        f"::ffff:{address}",
        f"::ffff:{high}:{low}",
        f"::ffff:0:{address}",
        f"64:ff9b::{address}",
        f"64:ff9b:1::{address}",
        f"2002:{high}:{low}::",
        f"2002:{high}:{low}::1",
        f"2001:0:{high}:{low}::",
        f"2001::{int(high, 16) ^ 0xFFFF:x}:{int(low, 16) ^ 0xFFFF:x}",
        f"fe80::5efe:{address}",
        f"2606:4700::5efe:{address}",
        f"2606:4700::200:5efe:{address}",
        f"2002:808:808::5efe:{address}",
        f"fd12:3456::5efe:{address}",
    ]


@pytest.mark.parametrize("address", METADATA)
def test_the_metadata_of_clouds_is_closed_in_every_spelling(address: str) -> None:
    for text in [address, *spellings(address)]:
        assert not is_public(ip_address(text)), text
        assert not is_private(ip_address(text)), text


@pytest.mark.parametrize("address", METADATA_6)
def test_the_metadata_of_clouds_is_closed_over_ipv6(address: str) -> None:
    for text in (address, f"{address}%1", f"{address}%eth0"):
        assert not is_public(ip_address(text)), text
        assert not is_private(ip_address(text)), text


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "192.168.1.1"])
def test_no_spelling_makes_a_private_address_public(address: str) -> None:
    assert not any(is_public(ip_address(text)) for text in spellings(address))


def test_a_public_address_may_be_reached_by_translation() -> None:
    assert is_public(ip_address("64:ff9b::8.8.8.8"))
    assert is_public(ip_address("::ffff:8.8.8.8"))
    assert is_public(ip_address("2002:808:808::1"))
