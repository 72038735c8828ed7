"""A bucket that keeps what is uploaded, and an image to upload."""

import hashlib
from pathlib import Path

PNG = b"\x89PNG\r\n\x1a\n" + b"rest"


class Bucket:
    """Keeps what is written in a dict of key to content and type."""

    def __init__(self):
        self.objects = {}

    def uri(self, key):
        return f"s3://bucket/{key}"

    def put(self, key, data, content_type):
        self.objects[key] = (data, content_type)
        return self.uri(key)

    def upload(self, key, path):
        self.objects[key] = (Path(path).read_bytes(), None)


def key_of(data, suffix):
    return f"uploads/{hashlib.sha256(data).hexdigest()}{suffix}"
