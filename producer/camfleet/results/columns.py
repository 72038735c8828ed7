"""The columns of results and what they mean, as docs/results.md says it."""

from typing import NamedTuple


class Column(NamedTuple):
    """A column, or a field of a nested one."""

    name: str
    type: str
    meaning: str


def columns() -> list[Column]:
    """Return the columns in their order, each before its fields."""
    return [Column(*line.split(" | ", 2)) for line in _TEXT.strip().splitlines()]


_TEXT = """
item_id | string | the manifest's id, or else the row's number in it; without a manifest the URI
image_uri | string | where the image was read from: absolute path or URI
image_etag | string | version of the bytes that were read: the object's or web server's ETag, size and time of a local file
model_id | string | the model's id
model_version | string | its version
model_digest | string | sha256 of its card (64 hexadecimal digits), which holds the sha256 of the model file
method | string | gradcam, cam, hirescam, layercam, xgradcam or gradcam++
layer | string | path of the layer that was explained; several with commas
target | string | the target as it was asked, such as top:3
rank | int32 | place of this class among the target's, from 0; classes are in the order of their logits, highest first
class_index | int32 | index of the class among the model's outputs, from 0
class_name | string | its label; its index, as text, where the card has no labels
probability | float64 | 0 to 1: what the model answers, or the softmax of the scores that it ends in
logit | float64 | the score before the final softmax or sigmoid, or the model's answer where it ends in neither, any number; for not: it is still the class's own
status | string | how it ended, ok, no_evidence or failed
error_code | string | why it failed, such as image_not_found
error_message | string | what happened and what to do, for people
grid_height | int32 | rows of the map: of the layer's own grid, or of the finest where several are fused
grid_width | int32 | columns of the map
raw_max | float64 | maximum of the exact float32 map, in the method's own units; ≤ 0 means no_evidence
map_scale | float64 | a power of two; the map in the method's own units is map × map_scale. 1 unless float16 can't hold the values
map | list of float16 | the raw signed map, row by row, grid_height × grid_width values; with several layers the fused one, 0 to 1
layer_maps | list of structs | with several layers: each layer's own map
layer_maps[].layer | string | the layer's path
layer_maps[].grid_height | int32 | as above, of this layer
layer_maps[].grid_width | int32 | as above, of this layer
layer_maps[].raw_max | float64 | as above, of this layer
layer_maps[].map_scale | float64 | as above, of this layer
layer_maps[].map | list of float16 | as above, of this layer, signed
geometry | struct | the fields below
geometry.image_height | int32 | height of the upright photograph, pixels
geometry.image_width | int32 | its width, pixels
geometry.input_height | int32 | height of the model's input, pixels
geometry.input_width | int32 | its width, pixels
geometry.left | float64 | pixels; negative where pad reaches beyond the image
geometry.top | float64 | pixels; negative where pad reaches beyond the image
geometry.right | float64 | pixels
geometry.bottom | float64 | pixels
focus | struct | the fields below
focus.peak_x | float64 | the hottest place, pixels, 0.5 to image_width − 0.5; the first, row by row, of equal ones
focus.peak_y | float64 | likewise, 0.5 to image_height − 0.5
focus.centre_x | float64 | centre of mass of the heat, pixels, 0 to image_width
focus.centre_y | float64 | likewise, 0 to image_height
focus.border_share | float64 | 0 to 1: the share of the heat in the border, which is the outer tenth of the image's width on the left and on the right and the outer tenth of its height at the top and at the bottom. Heat spread evenly over the whole image gives 0.36
regions | list of structs | the regions; empty where there's no heat inside the photograph
regions[].left | int32 | left edge of the box, pixels
regions[].top | int32 | top edge of the box, pixels
regions[].width | int32 | width of the box, pixels, 1 or more
regions[].height | int32 | height of the box, pixels, 1 or more
regions[].area | int32 | number of pixels in the region
regions[].heat | float64 | the region's hottest pixel, as a fraction of the image's hottest: above 0, up to 1
regions[].rle | string | COCO's compressed run-length encoding over the whole image, "size": [image_height, image_width]
regions[].polygon | list of lists of float32 | outer outlines as x, y, x, y, ..., whole numbers along the edges of pixels; filled they give the region without its holes
heatmap_uri | string | s3:// URI of the heatmap
overlay_uri | string | s3:// URI of the overlay
raw_uri | string | s3:// URI of the raw map
thumbnail_uri | string | s3:// URI of the thumbnail
pack | struct | where the row's pictures lie in a job with packed pictures, whose _uris are null
pack.uri | string | s3:// URI of the ZIP file that holds them, and those of other rows
pack.heatmap | struct | where the heatmap lies in the file
pack.heatmap.offset | int32 | its first byte in the file, from 0
pack.heatmap.length | int32 | its length, bytes
pack.overlay | struct | where the overlay lies in the file
pack.overlay.offset | int32 | its first byte in the file, from 0
pack.overlay.length | int32 | its length, bytes
pack.raw | struct | where the raw map lies in the file
pack.raw.offset | int32 | its first byte in the file, from 0
pack.raw.length | int32 | its length, bytes
pack.thumbnail | struct | where the thumbnail lies in the file
pack.thumbnail.offset | int32 | its first byte in the file, from 0
pack.thumbnail.length | int32 | its length, bytes
timings | struct | milliseconds spent on this image; 0 for steps it didn't reach
timings.fetch | float32 | reading the file, attempts and pauses included
timings.decode | float32 | decoding it and making the model's input
timings.explain | float32 | forward pass and map: the image's share of its batch
timings.render | float32 | drawing the pictures
timings.store | float32 | writing the pictures; of packed ones only their way into the chunk's file
label | string | the true class: a label, or an index as text
boxes | string | JSON: a list of [left, top, right, bottom], pixels of the upright photograph
group | string | what belongs together: a patient, a video, a site
columns | string | JSON: an object with all other columns that were kept, by name; those without a value are absent
first_index | int32 | in the job of a review: index of the class that the model itself ranks first, whatever the target
first_name | string | its label; its index, as text, where the card has no labels
precision | string | bf16 where the engine computed in bfloat16
"""  # noqa: E501, RUF001  # lines of a table
