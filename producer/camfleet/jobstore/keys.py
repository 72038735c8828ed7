"""The layout of the bucket: every object key is made here, and all of them are deterministic.

models/<digest>/card.toml, model.keras|.h5|.hdf5, golden, report.json
models/<digest>/converted/<name>.model              as a worker has converted it; may be deleted
registry/<id>/<version>.json                        which digest an id and version stand for
registry-changes/<id>/00001.json                    what an id's aliases name since this change
jobs/<job>/job.json                                 last to go: says if the job is being deleted
jobs/<job>/source.json                              what its sources hold that isn't in the job
jobs/<job>/manifest/part-00000.parquet
jobs/<job>/results/<model>-<index>/part-00000.parquet
jobs/<job>/retries/00001.json                       which rows were run again
jobs/<job>/history/00001/<model>-<index>/part-00000.parquet   a part as it was before retry 1
jobs/<job>/packs/<model>-<index>/part-00000-<digest>.zip    pictures of a chunk, packed
jobs/<job>/thumbnails/<request digest>.jpg          small pictures that reports show
jobs/<job>/renders/<request digest>.jpg | .png       pictures drawn later from the raw maps
jobs/<job>/followups.json                           how what follows the job's end went
jobs/<job>/cancelled.json                           when it was cancelled, until it goes on
jobs/<job>/report/index.html, report.json, ...      its report, unless it lies elsewhere
jobs/<job>/findings.json                            what people say of the report's findings
jobs/<job>/errands/<digest>.json                    what somebody had a worker make of it later
jobs/<job>/gallery/<digest>/index.json, *.bin       an index of its rows: see `results.gallery`
jobs/<job>/comparisons/<digest>/index.html, ...     how it compares with another job
jobs/<job>/exports/<digest>/<job>-<format>.zip      exports that were asked for over HTTP
jobs/<job>/studies/<kind>/<request digest>.json     what a model says of changed images
jobs/<job>/floor/<index>.json                       by how much noise alone moves its maps
jobs/<job>/studies/faithfulness.json                what that adds up to
maps/<model digest>/<request digest>/<class>.heatmap.png | .overlay.jpg | .raw.npy | .thumbnail.jpg
uploads/<sha256><suffix>                            images that a producer sent along
tokens/<id>.json                                    a token of the gateway, as its digest
fleets/<id>.json                                    a sign of each fleet that uses the bucket
reviews/<name>/...                                  see `review_keys`
"""

import hashlib
import re

import msgspec

from camfleet.contract.codec import encode
from camfleet.contract.outputs import DEFAULT_PRECISION, Drawing, Outputs, Precision
from camfleet.contract.records import JOB_ID, MODEL_ID, ChunkRef, JobRecord
from camfleet.contract.studies import KIND, StudyRequest

_PACK = re.compile(
    rf"jobs/(?P<job>{JOB_ID.pattern})/packs/[A-Za-z0-9._-]{{1,80}}/part-\d{{5,9}}-[0-9a-f]{{32}}\.zip"
)
_DIGITS = 5  # of a retry's number: see `MOST_RETRIES`
MOST_RETRIES = 10**_DIGITS - 1
MOST_CHANGES = 99_999  # of a model id
# What workers take for no image.
INTERNAL = ("models/", "registry/", "registry-changes/", "jobs/", "reviews/", "tokens/")
# Where nobody may write a report: `prune` empties uploads and maps.
RESERVED = (*INTERNAL, "uploads/", "maps/", "fleets/")


def model_prefix(digest: str) -> str:
    return f"models/{digest}/"


def card(digest: str) -> str:
    return f"models/{digest}/card.toml"


def artifact(digest: str, suffix: str) -> str:
    return f"models/{digest}/model{suffix}"


def golden(digest: str) -> str:
    return f"models/{digest}/golden"


def converted(digest: str, name: str = "") -> str:
    """Return the key of a model as a worker has converted it, or the prefix of all its forms.

    `name` says by what it was converted, and for what.
    """
    return f"models/{digest}/converted/" + (f"{name}.model" if name else "")


def report(digest: str) -> str:
    return f"models/{digest}/report.json"


def registry(model_id: str = "", version: str = "") -> str:
    """Return the key of one version's entry, or the prefix of an id's, or of all entries."""
    if not model_id:
        return "registry/"
    return f"registry/{model_id}/" + (f"{version}.json" if version else "")


def is_entry(key: str) -> bool:
    """Return whether a key can be that of a version's entry."""
    names = key.removeprefix(registry()).removesuffix(".json").split("/")
    return all(re.match(MODEL_ID, name) for name in names) and key == registry(*names[:2])


def changes(model_id: str = "") -> str:
    """Return the prefix of the changes of an id, or of all ids.

    They lie apart from the entries, as version 0.1.0 takes all that lies there for entries.
    """
    return "registry-changes/" + (f"{model_id}/" if model_id else "")


def change(model_id: str, number: int) -> str:
    return f"{changes(model_id)}{number:05d}.json"


def change_at(key: str) -> tuple[str, int] | None:
    """Return the id and number of the change that lies at a key, None for any other key."""
    found = re.fullmatch(r"([^/]+)/([0-9]{5})\.json", key.removeprefix(changes()))
    if not found or not re.match(MODEL_ID, found[1]) or not int(found[2]):
        return None
    return found[1], int(found[2])


def token(token_id: str = "") -> str:
    """Return the key of a token, or the prefix of all."""
    return "tokens/" + (f"{token_id}.json" if token_id else "")


def fleet(fleet_id: str = "") -> str:
    """Return the key of a fleet's sign, or the prefix of all."""
    return "fleets/" + (f"{fleet_id}.json" if fleet_id else "")


def jobs() -> str:
    """Return the prefix of all jobs."""
    return "jobs/"


def folder(job_id: str) -> str:
    """Return the prefix of all that is a job's own."""
    return f"jobs/{job_id}/"


def job_of(folder_or_key: str) -> str | None:
    """Return the id of the job in whose folder a key lies, None where that's no job's."""
    names = folder_or_key.split("/", 2)
    ours = names[0] == "jobs" and len(names) == 3 and JOB_ID.fullmatch(names[1])
    return names[1] if ours else None


def job(job_id: str) -> str:
    return f"jobs/{job_id}/job.json"


def source(job_id: str) -> str:
    return f"jobs/{job_id}/source.json"


def manifest_part(job_id: str, part: int) -> str:
    return f"{manifest(job_id)}part-{part:05d}.parquet"


def results(job_id: str) -> str:
    """Return the prefix of a job's results parts."""
    return f"jobs/{job_id}/results/"


def results_part(record: JobRecord, ref: ChunkRef) -> str:
    return results(ref.job_id) + _part(record, ref)


def history(job_id: str) -> str:
    """Return the prefix of the results parts that retries have replaced."""
    return f"jobs/{job_id}/history/"


def history_part(record: JobRecord, ref: ChunkRef) -> str:
    """Return the key of a results part as it was before the retry `ref.retry`."""
    return f"{history(ref.job_id)}{ref.retry:05d}/" + _part(record, ref)


def retries(job_id: str) -> str:
    return f"jobs/{job_id}/retries/"


def retry(job_id: str, number: int) -> str:
    return f"{retries(job_id)}{number:05d}.json"


def retry_number(key: str, job_id: str) -> int | None:
    """Return the number of the retry whose record lies at a key, None for any other key."""
    name = key.removeprefix(retries(job_id)).removesuffix(".json")
    number = int(name) if name.isascii() and name.isdigit() and len(name) <= _DIGITS else 0
    return number if number and retry(job_id, number) == key else None


def follow_ups(job_id: str) -> str:
    return f"jobs/{job_id}/followups.json"


def report_folder(job_id: str) -> str:
    """Return the prefix of the report that a worker writes, unless it's told another place."""
    return f"jobs/{job_id}/report/"


def manifest(job_id: str) -> str:
    """Return the prefix of a job's manifest parts."""
    return f"jobs/{job_id}/manifest/"


def pack(record: JobRecord, ref: ChunkRef, digest: str) -> str:
    """Return the key of a chunk's pictures in one file, whose own digest it is: never another's."""
    part = _part(record, ref).removesuffix(".parquet")
    return f"jobs/{ref.job_id}/packs/{part}-{digest[:32]}.zip"


def is_pack(key: str, job_id: str | None) -> bool:
    """Return whether a key can be that of a pack, of this job or, without one, of any."""
    found = _PACK.fullmatch(key)
    return found is not None and job_id in (None, found["job"])


def _part(record: JobRecord, ref: ChunkRef) -> str:
    return f"{record.models[ref.model].id}-{ref.model}/part-{ref.part:05d}.parquet"


def thumbnail(job_id: str, thumbnail: object, side: int) -> str:
    """Return the key of a small picture of one of a job's images: the same request, the same."""
    digest = hashlib.sha256(msgspec.json.encode([thumbnail, side])).hexdigest()
    return f"jobs/{job_id}/thumbnails/{digest[:32]}.jpg"


def render(ref: ChunkRef, digest: str, row: int, drawing: Drawing) -> str:
    """Return the key of a row's map, drawn anew; `digest` is that of the results part."""
    words = [ref.model, ref.part, digest, row, encode(drawing)]
    name = hashlib.sha256(msgspec.json.encode(words)).hexdigest()[:32]
    return f"jobs/{ref.job_id}/renders/{name}{DRAWN[drawing.picture][0]}"


def study(request: StudyRequest) -> str:
    """Return the key of a study's answer: the same request, the same."""
    words = encode(request)
    kind = words["study"][KIND]
    name = hashlib.sha256(msgspec.json.encode(words)).hexdigest()[:32]
    return f"jobs/{request.chunk.job_id}/studies/{kind}/{name}.json"


def faithfulness(job_id: str) -> str:
    return f"jobs/{job_id}/studies/faithfulness.json"


def floor(job_id: str, model: int) -> str:
    """Return the key of what noise does to the maps of a job's model, by its number."""
    return f"jobs/{job_id}/floor/{model}.json"


def uploads() -> str:
    return "uploads/"


def upload(digest: str, suffix: str) -> str:
    return f"{uploads()}{digest}{suffix}"


def pictures(model_digest: str = "") -> str:
    """Return the prefix of the pictures of a model's requests, or of all requests."""
    return "maps/" + (f"{model_digest[:16]}/" if model_digest else "")


def explanation(
    image_uri: str,
    inputs: object,
    model_digest: str,
    target: str,
    method: str,
    layer: str,
    fuse: str | None,
    outputs: Outputs,
    precision: Precision = DEFAULT_PRECISION,
) -> str:
    """Return the prefix under which the pictures of one request lie: the same request, the same."""
    words = [image_uri, inputs, target, method, layer, fuse, encode(outputs)]
    if precision != DEFAULT_PRECISION:  # which version 0.1.0 didn't name
        words.append(precision)
    digest = hashlib.sha256(msgspec.json.encode(words)).hexdigest()
    return f"{pictures(model_digest)}{digest[:32]}/"


PICTURES = {
    "heatmap": (".heatmap.png", "image/png"),
    "overlay": (".overlay.jpg", "image/jpeg"),
    "raw": (".raw.npy", "application/octet-stream"),
    "thumbnail": (".thumbnail.jpg", "image/jpeg"),
}


DRAWN = {
    "overlay": (".jpg", "image/jpeg"),
    "heatmap": (".png", "image/png"),
    "shapes": (".jpg", "image/jpeg"),
}


def picture(prefix: str, class_index: int, kind: str) -> str:
    return f"{prefix}{class_index:05d}{PICTURES[kind][0]}"
