"""camfleet usage on a bucket with jobs and models."""

import json


def test_everything_in_the_bucket_is_counted_once(client, model, photos, run):
    job = client.submit(photos, models="patches")
    assert job.wait(timeout=180).complete
    done = run("usage", "--json", "--jobs", "1000")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    there = list(client.storage.objects(""))
    assert sum(each["objects"] for each in found["kinds"]) == len(there)
    assert sum(each["bytes"] for each in found["kinds"]) == sum(each.nbytes for each in there)
    own = [each for each in there if each.key.startswith(f"jobs/{job.id}/")]
    (counted,) = [each for each in found["jobs"] if each["job"] == job.id]
    assert (counted["objects"], counted["bytes"]) == (len(own), sum(each.nbytes for each in own))
    assert "patches@1" in [each["model"] for each in found["models"]]
    table = run("usage").stdout
    assert table.splitlines()[0].split() == ["kind", "objects", "MiB"]
    assert "patches@1" in table
    assert len(run("usage", "--jobs", "0").stdout) < len(table)
