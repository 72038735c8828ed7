"""Archives that somebody orders: refused before they are too large; odd names are noted."""

import zipfile
from types import SimpleNamespace

import pytest

from camfleet.contract.errands import ExportOrder
from camfleet.errors import InvalidRequest
from camfleet.exports import export as exports
from camfleet.exports import orders, packing
from helpers import rows
from helpers.exported import CLASSES, record, seen

LEFT = [[1, 0], [1, 0]]


@pytest.fixture
def order(tmp_path, monkeypatch):
    """Return a function that writes an archive of images, a part each; it gives the note."""
    read = []

    def write(form, uris, **options):
        class Reading:
            def __init__(self, _record, _storage, selection, *_more):
                self._names = selection.schema.names

            def tables(self, on_part):
                for uri in uris:
                    read.append(uri)
                    on_part()
                    yield rows.table([seen(uri, LEFT, image_uri=uri)]).select(self._names)

            def coverage(self, _counts):
                return None

        monkeypatch.setattr(orders, "Reading", Reading)
        monkeypatch.setattr(exports, "classes_of", lambda *_: CLASSES)
        asked = ExportOrder(format=form, **options)
        made = record(), None, asked, None, tmp_path / "made.zip", lambda: None
        return orders.write(*made).note

    return SimpleNamespace(write=write, read=read, archive=tmp_path / "made.zip")


@pytest.mark.parametrize(
    ("form", "options"), [("voc", {}), ("yolo", {}), ("fiftyone", {"heat": True})]
)
def test_more_images_than_an_archive_has_files_are_refused_before_all_are_written(
    order, monkeypatch, form, options
):
    monkeypatch.setattr(packing, "MOST_FILES", 2)
    with pytest.raises(InvalidRequest, match=r"at most 2 files.*camfleet export"):
        order.write(form, [f"/x/{number}.jpg" for number in range(9)], **options)
    assert len(order.read) == 4


def test_formats_with_many_images_in_a_file_take_more(order, monkeypatch):
    monkeypatch.setattr(packing, "MOST_FILES", 3)  # tasks, README.txt and failed.jsonl
    uris = [f"/x/{number}.jpg" for number in range(9)]
    assert order.write("coco", uris) == "9 images, 9 annotations (polygon)"


def test_names_that_other_systems_take_for_one_are_counted(order):
    note = order.write("voc", ["/x/A.jpg", "/x/a.jpg", "/x/b.jpg", "/x/aux.jpg"])
    assert note == (
        "4 images, 4 annotations (box); 2 names don't suit Windows or macOS: names.txt says which"
    )
    with zipfile.ZipFile(order.archive) as archive:
        assert len(archive.read("names.txt").splitlines()) == 2
        assert b"<filename>x/a.jpg</filename>" in archive.read("Annotations/x/a.xml")
