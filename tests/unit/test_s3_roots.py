"""Which objects are open to workers as images, and which aren't, however they are spelt."""

import inspect

import pytest

from camfleet.contract.outputs import Outputs
from camfleet.errors import ConfigurationError, InvalidRequest, SourceForbidden
from camfleet.jobstore import keys
from camfleet.jobstore.s3_roots import ReportRoots, S3Roots
from camfleet.settings import Settings

NEEDED = {"CAMFLEET_REDIS_URL": "redis://localhost", "CAMFLEET_BUCKET": "camfleet"}


def roots(text=""):
    settings = Settings.from_environ({**NEEDED, "CAMFLEET_S3_ROOTS": text})
    assert Settings.from_environ(settings.to_environ()) == settings
    return S3Roots(settings.bucket, settings.s3_roots)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://camfleet/a.jpg",
        "s3://camfleet/photos/a.jpg",
        "s3://camfleet/maps/a/b/00001.heatmap.png",
        "s3://camfleet/uploads/a.jpg",
        "s3://camfleet/modelsX/a.jpg",
        "s3://camfleet/photos/jobs/a.jpg",
        "s3://camfleet/photos/a..jpg",
        "s3://camfleet/.hidden/...jpg",
        "s3://camfleet/photos//a.jpg",
    ],
)
def test_the_own_bucket_is_open(uri):
    assert roots().error(uri) is None


@pytest.mark.parametrize(
    "key",
    [
        *("models/a/card.toml", "models/a/golden", "registry/a/1.json"),
        *("registry-changes/a/00001.json", "jobs/a/job.json", "jobs/x.jpg"),
        # SeaweedFS reads all of these as the same object.
        *(
            "/tokens/a.json",
            "//tokens//a.json",
            "\\tokens/a.json",
            "tokens\\a.json",
            "/\\jobs/x.jpg",
        ),
    ],
)
def test_what_camfleet_keeps_for_itself_is_no_image(key):
    for text in ("", "*", "other"):
        error = roots(text).error(f"s3://camfleet/{key}")
        assert isinstance(error, SourceForbidden)
        assert "camfleet's own records" in str(error)
    assert roots("camfleet/jobs").error("s3://camfleet/jobs/x.jpg") is None, "if it's named"


def test_every_key_is_either_a_record_or_an_image():
    calls = [
        keys.model_prefix("d"),
        keys.card("d"),
        keys.artifact("d", ".h5"),
        keys.golden("d"),
        keys.converted("d", "n"),
        keys.report("d"),
        keys.registry("m", "1"),
        keys.change("m", 1),
        keys.job("j"),
        keys.source("j"),
        keys.manifest_part("j", 0),
        keys.results("j"),
        keys.retry("j", 1),
        keys.upload("d", ".jpg"),
        keys.explanation("u", {}, "d", "top", "gradcam", "auto", None, Outputs()),
    ]
    assert all(key.startswith(keys.RESERVED) for key in calls)
    prefixes = {f"{line.partition('/')[0]}/" for line in inspect.getdoc(keys).splitlines()[2:]}
    assert prefixes == set(keys.RESERVED)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://other/a.jpg",
        "s3://photos/a.jpg",
        "s3://Photos-1/in/a.jpg",
        "s3://photos-1./in/a.jpg",
        "s3://photos-1/inner/a.jpg",
        "s3://photos-1/in",
        "s3://photos-1/a.jpg",
        "s3://photos-1",
        "s3://photos-1%2Fin/a.jpg",
        "s3://me@photos-1/in/a.jpg",
        "s3://photos-1:443/in/a.jpg",
        "s3://photos-1?x/in/a.jpg",
        "s3://photos-1 /in/a.jpg",
        "s3://CAMFLEET/a.jpg",
        "s3://camfleet./a.jpg",
        "s3://*/a.jpg",
        "s3://../camfleet/a.jpg",
        "s3://./a.jpg",
        "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/photos-1/in/a.jpg",
        "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint:photos-1/in/a.jpg",
    ],
)
def test_another_bucket_is_closed_unless_the_operator_names_it_and_the_error_says_how(uri):
    error = roots("photos-1/in/:more").error(uri)
    assert isinstance(error, SourceForbidden)
    assert "(camfleet, photos-1/in/, more/): add " in str(error)
    assert "to their CAMFLEET_S3_ROOTS, or copy the images to s3://camfleet/" in str(error)


@pytest.mark.parametrize(
    "key",
    [
        "../other/a.jpg",
        "in/../../other/a.jpg",
        "in/..",
        "in/./a.jpg",
        "in/%2e%2e/a.jpg",
        "in/%2E./a.jpg",
        "in/.%2e/../a.jpg",
        "..\\other\\a.jpg",
        "in\\..\\a.jpg",
        "..",
    ],
)
def test_no_part_of_a_key_leads_out_of_its_prefix(key):
    for text, bucket in (("", "camfleet"), ("photos-1", "photos-1"), ("*", "photos-1")):
        error = roots(text).error(f"s3://{bucket}/{key}")
        assert isinstance(error, SourceForbidden)
        assert "name the object itself" in str(error)


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("photos-1", "s3://photos-1/deep/a.jpg"),
        ("photos-1/", "s3://photos-1/a.jpg"),
        ("photos-1/in", "s3://photos-1/in/a.jpg"),
        ("abc:photos-1/in/deep/", "s3://photos-1/in/deep/a.jpg"),
        ("*", "s3://any-bucket/a.jpg"),
        ("my-point-x1y2-s3alias", "s3://my-point-x1y2-s3alias/a.jpg"),
    ],
)
def test_what_the_operator_names_is_open(text, uri):
    assert roots(text).error(uri) is None


@pytest.mark.parametrize(
    "text",
    [
        "s3://photos",
        "/photos",
        "a b",
        "photos/../x",
        "photos/.",
        "arn:aws:s3:eu-west-1:1:x/y",
        "*/a",
        "a//b",
    ],
)
def test_a_root_of_another_form_is_refused(text):
    with pytest.raises(ConfigurationError, match=r"CAMFLEET_S3_ROOTS has .* neither `bucket` nor"):
        roots(text)


@pytest.mark.parametrize("uri", ["s3://", "s3:///a.jpg", "S3://camfleet/a.jpg", "s3:camfleet/a"])
def test_what_names_no_object_is_malformed(uri):
    with pytest.raises(InvalidRequest, match="s3://bucket/key"):
        roots("*").error(uri)


@pytest.mark.parametrize(
    "place",
    [
        "s3://reports-1",
        "s3://reports-1/",
        "s3://reports-1/any/where/",
        "s3://shared/weekly",
        "s3://shared/weekly/2026-48",
        "s3://camfleet/reports/a",
    ],
)
def test_reports_may_be_written_below_what_the_operator_names(place):
    assert ReportRoots("camfleet", ("reports-1", "shared/weekly/", "camfleet")).error(place) is None


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("s3://reports-2/a", "add reports-2 or a prefix of it to their CAMFLEET_REPORT_ROOTS"),
        ("s3://reports-1-too", "add reports-1-too"),
        ("s3://shared", "add shared"),
        ("s3://shared/weekly-too", "add shared"),
        ("s3://shared//weekly/a", "add shared"),
        ("s3://shared/weekly/../a", "a part `.` or `..`"),
        ("s3://camfleet/jobs/one/report", "camfleet's own records"),
        ("s3://camfleet/models", "camfleet's own records"),
    ],
)
def test_reports_may_be_written_nowhere_else(place, reason):
    error = ReportRoots("camfleet", ("reports-1", "shared/weekly/", "camfleet")).error(place)
    assert reason in str(error)


def test_no_place_for_reports_is_open_by_default_and_none_of_another_form_is_taken():
    assert ReportRoots("camfleet", ()).error("s3://camfleet/reports")
    assert Settings.from_environ(NEEDED).report_roots == ()
    with pytest.raises(ConfigurationError, match=r"CAMFLEET_REPORT_ROOTS has '\*', which"):
        Settings.from_environ({**NEEDED, "CAMFLEET_REPORT_ROOTS": "*"})
