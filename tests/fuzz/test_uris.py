"""However an address, a path or a key is spelt: nobody is asked who isn't open to workers."""

import pytest
from hypothesis import given
from tests.fuzz.addresses import hostile_uris
from tests.fuzz.runs import MARKS, examples
from tests.fuzz.victim import Limits, victim

pytestmark = MARKS


@pytest.fixture(scope="module")
def attacked():
    with victim("urls", Limits(seconds=2, mib=20)) as made:
        yield made


@pytest.mark.parametrize(
    "uri", ["FOLDER/open/a.png", "file://FOLDER/open/deep/b%20c.png", "file:FOLDER/open/./a.png"]
)
def test_what_is_open_is_read(uri, attacked):
    assert attacked.attack(uri.encode()).taken


@pytest.mark.parametrize("uri", ["http://8.8.8.8/a", "s3://own/a", "s3://other/photos/a"])
def test_what_is_open_is_asked_for(uri, attacked):
    said = attacked.attack(uri.encode()).said
    assert "SourceUnreachable" in said or "ImageNotFound" in said


@examples(800)
@given(hostile_uris())
def test_no_spelling_leads_into_the_private_network_or_out_of_a_folder(attacked, uri):
    attacked.attack(uri)
