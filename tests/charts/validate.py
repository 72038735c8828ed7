"""Read manifests from stdin, write them as JSON; exit code 1 with what isn't valid in them.

Runs in an environment of its own. Usage: validate.py VERSION_OF_KUBERNETES. What KEDA and the
Prometheus operator read, whose schemas are in no package, is in schemas.json: the `spec`.
"""

import json
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

OWN = json.loads(Path(__file__).with_name("schemas.json").read_text())


def problem(manifest):
    """Return what is wrong with a manifest, None if nothing."""
    kind = f"{manifest['apiVersion']}/{manifest['kind']}"
    try:
        if kind in OWN:
            assert set(manifest) <= {"apiVersion", "kind", "metadata", "spec"}, list(manifest)
            jsonschema.validate(manifest["spec"], OWN[kind])
        else:
            kubernetes_validate.validate(manifest, sys.argv[1], strict=True)
    except (AssertionError, jsonschema.ValidationError) as error:
        return f"{kind} {manifest['metadata']['name']}: {error}"
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        return f"{kind} {manifest['metadata']['name']}: {error.message}"
    return None


manifests = [each for each in yaml.safe_load_all(sys.stdin) if each]
problems = [found for each in manifests if (found := problem(each))]
if problems:
    sys.exit("\n".join(problems))
json.dump(manifests, sys.stdout)
