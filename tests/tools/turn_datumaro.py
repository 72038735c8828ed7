"""Run by Datumaro's own Python: reads a folder of one format, and writes one of another."""

import sys

from datumaro.components.dataset import Dataset


def main(folder, form, sink, other, masks="no"):
    # It makes polygons of masks unless it's told not to.
    more = {"segmentation_mode": "mask"} if masks == "masks" else {}
    Dataset.import_from(folder, form).export(sink, other, save_media=False, **more)
    sys.stdout.write("{}\n")


main(*sys.argv[1:])
