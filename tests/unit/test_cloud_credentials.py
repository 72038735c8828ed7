"""Which credentials read az:// and gs:// images: those that are named, and no others."""

import pytest

from camfleet.errors import (
    AccessDenied,
    ConfigurationError,
    ImageError,
    InvalidRequest,
    SourceForbidden,
)
from camfleet.jobstore.s3_roots import CloudRoots
from camfleet.settings import Settings
from camfleet.storage.clouds import AZURE, GOOGLE, Clouds, credentials
from camfleet_worker.sources.objects import CloudReader

ACCOUNT = {"AZURE_STORAGE_ACCOUNT_NAME": "account"}
KEY = {"AZURE_STORAGE_ACCOUNT_KEY": "a2V5"}
SERVICE = {"AZURE_CLIENT_ID": "id", "AZURE_TENANT_ID": "tenant"}
NEEDED = {"CAMFLEET_REDIS_URL": "redis://localhost", "CAMFLEET_BUCKET": "camfleet"}


@pytest.mark.parametrize(
    ("cloud", "environ", "kind"),
    [
        (AZURE, KEY, "access_key"),
        (AZURE, {"AZURE_STORAGE_SAS_TOKEN": "sig=x"}, "sas_token"),
        (AZURE, {"AZURE_CLIENT_SECRET": "x", **SERVICE}, "client_secret"),
        (AZURE, {"AZURE_FEDERATED_TOKEN_FILE": "/t", **SERVICE}, "workload_identity"),
        (AZURE, {"AZURE_SKIP_SIGNATURE": "true"}, "public"),
        (GOOGLE, {"GOOGLE_SERVICE_ACCOUNT": "/a.json"}, "service_account"),
        (GOOGLE, {"GOOGLE_SERVICE_ACCOUNT_KEY": "{}"}, "service_account_key"),
        (GOOGLE, {"GOOGLE_APPLICATION_CREDENTIALS": "/a"}, "application_credentials"),
        (GOOGLE, {"GOOGLE_SKIP_SIGNATURE": "1"}, "public"),
    ],
)
@pytest.mark.parametrize("machine", [False, True])
def test_what_is_named_is_used(cloud, environ, kind, machine):
    assert credentials(cloud, {**ACCOUNT, **environ}, machine=machine) == kind


@pytest.mark.parametrize("cloud", [AZURE, GOOGLE])
def test_without_any_nothing_is_guessed(cloud):
    with pytest.raises(AccessDenied, match=r"no credentials.*CAMFLEET_MACHINE_IDENTITY=1"):
        credentials(cloud, ACCOUNT, machine=False)
    assert credentials(cloud, ACCOUNT, machine=True) == "managed_identity"


def test_several_are_no_choice_unless_one_is_named():
    several = {**ACCOUNT, **KEY, "AZURE_CLIENT_SECRET": "x", **SERVICE}
    with pytest.raises(AccessDenied, match="ACCOUNT_KEY and AZURE_CLIENT_SECRET are several"):
        credentials(AZURE, several, machine=False)
    several["AZURE_CREDENTIAL_TYPE"] = "client_secret"
    assert credentials(AZURE, several, machine=False) == "client_secret"
    several["AZURE_CREDENTIAL_TYPE"] = "sas_token"
    with pytest.raises(AccessDenied, match="several"):
        credentials(AZURE, several, machine=False)
    both = {"GOOGLE_SERVICE_ACCOUNT": "/a", "GOOGLE_APPLICATION_CREDENTIALS": "/b"}
    with pytest.raises(AccessDenied, match=r"take all but one away$"):
        credentials(GOOGLE, both, machine=False)


@pytest.mark.parametrize(
    ("environ", "lacking"),
    [
        (KEY, "AZURE_STORAGE_ACCOUNT_NAME"),
        ({**ACCOUNT, "AZURE_CLIENT_SECRET": "x"}, "AZURE_CLIENT_ID and AZURE_TENANT_ID"),
        (
            {**ACCOUNT, "AZURE_FEDERATED_TOKEN_FILE": "/t", "AZURE_CLIENT_ID": "i"},
            "AZURE_TENANT_ID",
        ),
    ],
)
def test_what_lacks_beside_them_is_named(environ, lacking):
    with pytest.raises(AccessDenied, match=lacking):
        credentials(AZURE, environ, machine=True)


@pytest.mark.parametrize("uri", ["az://photos/a.jpg", "gs://photos/a.jpg"])
def test_a_read_without_credentials_names_image_and_way_out(uri):
    with pytest.raises(AccessDenied, match=rf"{uri}: .*(ACCOUNT_NAME|no credentials)"):
        Clouds(Settings(redis_url=""), {}).get(uri)


def test_credentials_that_cannot_be_read_are_not_quoted(tmp_path, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "no base64: secret!")
    with pytest.raises(AccessDenied, match=r"can't be used \(AZURE_STORAGE_ACCOUNT_KEY\)") as one:
        Clouds(Settings(redis_url="")).get("az://photos/a.jpg")
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", '{"private_key": "secret!')
    with pytest.raises(AccessDenied, match=r"can't be used \(GOOGLE_SERVICE_ACCOUNT_KEY\)") as two:
        Clouds(Settings(redis_url="")).get("gs://photos/a.jpg")
    assert "secret!" not in f"{one.value}{two.value}"


@pytest.mark.parametrize(
    "uri", ["az://", "az:///a", "az://Photos!/a", "az://photos/a//b", "gs://photos/", "s3://b/k"]
)
def test_what_no_object_can_be_called_is_the_callers_fault(uri):
    with pytest.raises(InvalidRequest):
        Clouds(Settings(redis_url=""), {**ACCOUNT, **KEY}).get(uri)


def reader(**variables):
    return CloudReader(Settings.from_environ({**NEEDED, **variables}))


@pytest.mark.parametrize(("scheme", "variable"), [("az", "AZ_ROOTS"), ("gs", "GS_ROOTS")])
def test_nothing_of_other_clouds_is_open_but_what_is_named(scheme, variable):
    name = f"CAMFLEET_{variable}"
    for opened in ({}, {name: "other"}, {name: "photos/day"}, {"CAMFLEET_S3_ROOTS": "*"}):
        with pytest.raises(SourceForbidden, match=f"add photos to their {name}"):
            reader(**opened).read(f"{scheme}://photos/a.jpg", 10)
    for opened in ("photos", "photos/", "photos/a", "x1y:photos", "*"):
        roots = CloudRoots.of(Settings.from_environ({**NEEDED, name: opened}))[scheme]
        assert roots.error(f"{scheme}://photos/a/1.jpg") is None
        assert isinstance(roots.error(f"{scheme}://photos/a/../1.jpg"), SourceForbidden)
        assert isinstance(roots.error(f"{scheme}://photos/a/%2e%2e/1.jpg"), SourceForbidden)


def test_a_root_is_no_beginning_of_a_name():
    settings = Settings.from_environ({**NEEDED, "CAMFLEET_AZ_ROOTS": "photos/day"})
    roots = CloudRoots.of(settings)["az"]
    assert roots.error("az://photos/day/a.jpg") is None
    for uri in ("az://photos/days/a.jpg", "az://photos2/day/a.jpg", "az://photos/day"):
        assert isinstance(roots.error(uri), SourceForbidden)


@pytest.mark.parametrize("variable", ["CAMFLEET_AZ_ROOTS", "CAMFLEET_GS_ROOTS"])
@pytest.mark.parametrize("text", ["az://photos", "/photos", "photos/../x", "a"])
def test_a_root_that_cannot_be_right_is_refused(variable, text):
    if "://" in text:
        text = text.replace(":", "")  # the colon separates
    with pytest.raises(ConfigurationError, match=variable):
        Settings.from_environ({**NEEDED, variable: text})


@pytest.mark.parametrize("uri", ["az:photos/a.jpg", "AZ://photos/a.jpg"])
def test_a_malformed_uri_is_the_images_own_fault(uri):
    with pytest.raises(ImageError):
        reader(CAMFLEET_AZ_ROOTS="*").read(uri, 10)
