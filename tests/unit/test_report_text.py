"""What a report shows of strangers' text: no markup, every sign, and no secrets of URLs."""

import pytest

from camfleet.audit.pictures import environment

PICTURE = "data:image/jpeg;base64,/9j/token=="


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b onload='x'>", "&lt;b onload=&#39;x&#39;&gt;"),
        ("a\u202eb\x1b\0\u200b", r"a\u202eb\u001b\u0000\u200b"),
        ("https://u:geheim@h/a.png?sig=geheim&v=1", "https://**@h/a.png?sig=**&amp;v=1"),
        (PICTURE, PICTURE),
        ("große Größe", "große Größe"),
    ],
)
def test_strangers_text_is_shown_whole_and_without_secrets(text, shown):
    page = environment().from_string('<p title="{{ text }}">{{ text }}</p>')
    assert page.render(text=text) == f'<p title="{shown}">{shown}</p>'


def test_a_file_name_in_a_caption_has_no_signature():
    uri = "https://h/photos/a.png?X-Amz-Signature=geheim"
    assert "geheim" not in environment().from_string("{{ uri|file_name }}").render(uri=uri)
