"""Arguments that decide how much a layer takes, where neither its weights nor its outputs show it.

What those show is counted before memory is taken for it: weights by `tf.built`, outputs by
`tf.describe`.
"""

from typing import Any

from camfleet_worker.models.files.refusals import broken, short

_VOCABULARIES = ("StringLookup", "IntegerLookup")
# Arguments that say how often something is done, or how wide, and the largest values of any use.
_MOST = {
    ("ElasticTransform", "sigma"): 50,
    ("GaussianBlur", "kernel_size"): 301,
    **{
        (kind, "indices_or_sections"): 1_000
        for kind in ("ArraySplit", "Dsplit", "Hsplit", "Split", "Vsplit")
    },
    ("Unstack", "num"): 1_000,
}
_SEGMENTS = ("SegmentMax", "SegmentMin", "SegmentProd", "SegmentSum")


def check_arguments(kind: str, config: dict[str, Any], where: str, shown: str) -> None:
    """Raise `UnsupportedModelFile` for arguments with which one of Keras' classes has no bound."""
    if kind in _VOCABULARIES:
        _check_vocabulary(config, where, shown)
    if kind in _SEGMENTS and not isinstance(config.get("num_segments"), int):
        raise broken(
            shown, f"{where} ({kind}) makes as many segments as values say: give it num_segments"
        )
    for key, value in config.items():
        most = _MOST.get((kind, key))
        if most and any(number > most for number in _numbers(value)):
            raise broken(
                shown, f"{where} ({kind}) has {key} {short(value)}, of which {most} may be"
            )


def _check_vocabulary(config: dict[str, Any], where: str, shown: str) -> None:
    vocabulary, weights = config.get("vocabulary"), config.get("idf_weights")
    if isinstance(vocabulary, list) and isinstance(weights, (list, type(None))):
        return
    key = "vocabulary" if not isinstance(vocabulary, list) else "idf_weights"
    why = (
        "has learned its vocabulary, which lies in another file that isn't read: give"
        if vocabulary is None
        else f"would read its {key} from another file, which no model file may: give"
    )
    raise broken(shown, f"{where} {why} the layer a list ({key}=layer.get_vocabulary())")


def _numbers(value: Any) -> list[float]:
    """Return the numbers of an argument: one, a list, or a tuple as Keras writes it."""
    inner = value.get("items") if isinstance(value, dict) else value
    values = inner if isinstance(inner, list) else [inner]
    return [number for number in values if isinstance(number, (int, float))]
