"""What a gallery leaves in its folder of an earlier one."""

from camfleet.pictures.listed import LIST, Listed


def write(folder, *names, ends=True):
    shown = Listed(folder)
    shown.add(names)
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"ours")
    if ends:
        shown.tidy()


def there(folder):
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in found} - {LIST}


def test_what_an_earlier_gallery_wrote_goes_and_all_else_stays(tmp_path):
    (tmp_path / "notes.html").write_text("mine")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "mine.jpg").write_text("mine")
    write(tmp_path, "index.html", "page-2.html", "pictures/a.jpg", "pictures/b.jpg")
    write(tmp_path, "page-2.html", "pictures/c.jpg", ends=False)  # cut off
    write(tmp_path, "index.html", "pictures/a.jpg")
    assert there(tmp_path) == {"index.html", "pictures/a.jpg", "notes.html", "pictures/mine.jpg"}


def test_a_list_that_names_other_files_deletes_none(tmp_path):
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    names = ["../outside.jpg", "/outside.jpg", "pictures/../../outside.jpg", "notes.txt", ".", ""]
    (tmp_path / "outside.jpg").write_text("mine")
    (gallery / "notes.txt").write_text("mine")
    (gallery / LIST).write_text("\n".join(names))
    write(gallery, "index.html")
    assert there(tmp_path) == {"outside.jpg", "gallery/notes.txt", "gallery/index.html"} | {
        f"gallery/{LIST}"
    }
