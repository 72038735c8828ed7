"""Read a compose file from stdin, write it as JSON; exit code 1 with what its schema forbids.

Runs in an environment of its own. Usage: compose.py SCHEMA.
"""

import json
import sys
from pathlib import Path

import jsonschema
import yaml

schema = json.loads(Path(sys.argv[1]).read_text())
found = yaml.safe_load(sys.stdin)
problems = [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(found)]
if problems:
    sys.exit("\n".join(problems))
json.dump(found, sys.stdout)
