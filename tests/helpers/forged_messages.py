"""Messages of Celery as camfleet sends them, and as somebody may forge them."""

import base64
import copy
import json

QUESTIONS = "camfleet.interactive"
CHUNKS = "camfleet.bulk"
SECRET = "geheim-payload"  # stands in what is forged, and must not be logged

GONE = object()  # in the place of a value: the key is left out


def body(args=(), words=None, embed=None, raw=None):
    """Return a body in base64."""
    if raw is None:
        nothing = dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))
        embed = nothing if embed is None else embed
        raw = json.dumps([args, {"request": {"x": SECRET}} if words is None else words, embed])
    return base64.b64encode(raw if isinstance(raw, bytes) else raw.encode()).decode()


def nested(levels):
    return "[" * levels + "]" * levels


def question(text=None, **changes):
    """Return a question as a message; `changes` are values by path, as `headers__task`."""
    headers = {"lang": "py", "task": "camfleet.explain", "id": "forged", "retries": 0}
    plain = {
        "body": body() if text is None else text,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {**headers, "timelimit": [None, None], "argsrepr": SECRET},
        "properties": {
            "correlation_id": "forged",
            "delivery_info": {"exchange": "", "routing_key": QUESTIONS},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": "forged-tag",
        },
    }
    return json.dumps(_changed(plain, changes))


def chunk(ref=None, **changes):
    """Return a chunk as a message."""
    plain = {"job_id": "no-such-job", "model": 0, "part": 0, "retry": 0}
    words = {"ref": plain if ref is None else ref}
    return question(body(words=words), headers__task="camfleet.chunk", **changes)


def command(name="ping", **changes):
    """Return a remote control command as a message; `changes` are those of its body."""
    plain = {
        "method": name,
        "arguments": {},
        "destination": None,
        "pattern": None,
        "matcher": None,
    }
    text = body(raw=json.dumps(_changed(plain, changes)))
    return question(text, headers={"clock": 1, "expires": 0})


def _changed(plain, changes):
    made = copy.deepcopy(plain)
    for path, value in changes.items():
        *outer, name = path.replace("content_", "content-").split("__")
        place = made
        for step in outer:
            place = place[step]
        if value is GONE:
            del place[name]
        else:
            place[name] = value
    return made


WRONG_HEADERS = {
    "no headers": question(headers=GONE),
    "headers null": question(headers=None),
    "headers a list": question(headers=[SECRET]),
    "headers a text": question(headers=SECRET),
    "no task": question(headers__task=GONE),
    "task null": question(headers__task=None),
    "task a list": question(headers__task=[SECRET]),
    "task an object": question(headers__task={"a": 1}),
    "an unknown task": question(headers__task="os.system"),
    "a task of Celery": question(headers__task="celery.backend_cleanup"),
    "another task of Celery": question(headers__task="celery.chord_unlock"),
    "a group": question(headers__task="celery.group"),
    "a chunk among questions": question(headers__task="camfleet.chunk"),
    "no id": question(headers__id=GONE),
    "id null": question(headers__id=None),
    "id a number": question(headers__id=7),
    "id an object": question(headers__id={"a": 1}),
    "id with a line's end": question(headers__id="a\nb"),
    "id with a line's end behind it": question(headers__id="a\n"),
    "id that steers terminals": question(headers__id="\x1b[2J"),
    "id without end": question(headers__id="a" * 10**6),
    "eta in ages": question(headers__eta="9999-12-31T23:59:59.999999+00:00"),
    "eta a number": question(headers__eta=10**30),
    "eta nonsense": question(headers__eta="soon"),
    "expired": question(headers__expires="1970-01-01T00:00:00"),
    "expires nonsense": question(headers__expires=[SECRET]),
    "time limit": question(headers__timelimit=[1, 1]),
    "time limit nonsense": question(headers__timelimit=SECRET),
    "part of a group": question(headers__group="g"),
    "part of a chord": question(headers__chord={"task": "a"}),
    "attempt of a text": question(headers__camfleet_attempt="first"),
    "attempt negative": question(headers__camfleet_attempt=-1),
    "attempt without end": question(headers__camfleet_attempt=10**400),
    "sent nonsense": question(headers__camfleet_sent=[SECRET]),
    "ignores nonsense": question(headers__ignore_result=SECRET),
    "protocol 1": json.dumps({"task": "camfleet.explain", "id": "a", "args": [], "kwargs": {}}),
    "protocol 1 in an envelope": question(
        body(raw='{"task": "camfleet.explain", "id": "a", "args": [], "kwargs": {}}'), headers={}
    ),
}

WRONG_ENVELOPES = {
    "nothing": "",
    "no JSON": SECRET,
    "half of it": question()[:200],
    "null": "null",
    "a list": "[]",
    "a text": f'"{SECRET}"',
    "a number": "1",
    "an empty object": "{}",
    "NaN": "NaN",
    "a long number": "9" * 10**5,
    "bytes": b"\xff\xfe\x00\x80",
    "half a surrogate pair as a name": question().replace('"lang"', '"\\ud800": 1, "lang"'),
    "half a surrogate pair as an id": question().replace('"forged"', '"\\ud800"'),
    "bytes within": question().encode().replace(b'"id": "forged"', b'"id": "\xff"'),
    "a pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    "deep lists": nested(100_000),
    "deep objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "deep within": question().replace('"forged-tag"', nested(50_000)),
    "20 MB": question(body(words={"request": "x" * 20_000_000})),
    "100 MB": "[" + "1," * 50_000_000 + "1]",
    "no body": question(body=GONE),
    "body null": question(body=None),
    "body a list": question(body=[SECRET]),
    "body a number": question(body=5),
    "body empty": question(""),
    "body broken": question("%%%"),
    "body cut": question(body()[:-3]),
    "body not UTF-8": question(body(raw=b"\xff\xfe")),
    "body null within": question(body(raw="null")),
    "body no JSON": question(body(raw=SECRET)),
    "body an object": question(body(raw="{}")),
    "body too short": question(body(raw="[[]]")),
    "body too long": question(body(raw="[[],{},{},{}]")),
    "body deep": question(body(raw=nested(100_000))),
    "body pickled": question(
        body(raw=b"\x80\x04N."), content_type="application/x-python-serialize"
    ),
    "no content type": question(content_type=GONE),
    "content type null": question(content_type=None),
    "content type a number": question(content_type=5),
    "pickle": question(content_type="application/x-python-serialize"),
    "yaml": question(content_type="application/x-yaml"),
    "msgpack": question(content_type="application/x-msgpack"),
    "data": question(content_type="application/data"),
    "no encoding": question(content_encoding=GONE),
    "binary": question(content_encoding="binary"),
    "rot13": question(content_encoding="rot13"),
    "encoding a list": question(content_encoding=["utf-8"]),
    "no properties": question(properties=GONE),
    "properties null": question(properties=None),
    "properties a list": question(properties=[]),
    "no delivery info": question(properties__delivery_info=GONE),
    "delivery info null": question(properties__delivery_info=None),
    "delivery info a text": question(properties__delivery_info=SECRET),
    "redelivered a text": question(properties__delivery_info={"redelivered": SECRET}),
    "no body encoding": question(properties__body_encoding=GONE),
    "body encoding unknown": question(properties__body_encoding="rot13"),
    "body encoding a number": question(properties__body_encoding=5),
}

WRONG_BODIES = {
    "arguments": question(body(args=[SECRET])),
    "no keywords": question(body(words=[])),
    "keywords null": question(body(raw="[[],null,{}]")),
    "keywords unknown": question(body(words={"request": {}, "self": SECRET})),
    "keywords of a chunk": question(body(words={"ref": {}})),
    "embed a list": question(body(embed=[])),
    "callbacks": question(body(embed={"callbacks": [{"task": "camfleet.explain"}]})),
    "errbacks": question(body(embed={"errbacks": [SECRET]})),
    "a chain": question(body(embed={"chain": [{"task": "a"}]})),
    "a chord": question(body(embed={"chord": {"task": "a"}})),
    "embed unknown": question(body(embed={"x": 1})),
    "a type of Celery": question(
        body(words={"request": {"__type__": "datetime", "__value__": SECRET}})
    ),
    "a type of Celery, escaped": question(
        body(raw='[[],{"request":{"\\u005f_type__":"bytes","__value__":1}},{}]')
    ),
    "too deep": question(body(raw=f'[[],{{"request":{nested(12)}}},{{}}]')),
    "half a surrogate pair": question(body(raw='[[],{"request":"\\ud800"},{}]')),
    "not a number": question(body(raw='[[],{"request":NaN},{}]')),
    "a number too large": question(body(raw='[[],{"request":1e999},{}]')),
}

DROPPED_QUESTIONS = {**WRONG_ENVELOPES, **WRONG_HEADERS, **WRONG_BODIES}

DROPPED_CHUNKS = {
    "a question among chunks": question(),
    "no reference": question(body(words={}), headers__task="camfleet.chunk"),
    "a reference and more": question(
        body(words={"ref": {}, "x": SECRET}), headers__task="camfleet.chunk"
    ),
    "a chunk in ages": chunk(headers__eta="9999-12-31T23:59:59"),
    "a chunk without properties": chunk(properties=GONE),
}

REF = {"job_id": "no-such-job", "model": 0, "part": 0, "retry": 0}
REFUSED_CHUNKS = {
    "reference null": {"ref": None},
    "reference a list": [],
    "reference empty": {},
    "reference and more": {**REF, "x": SECRET},
    "model a text": {**REF, "model": SECRET},
    "part negative": {**REF, "part": -1},
    "part without end": {**REF, "part": 10**30},
    "retry a fraction": {**REF, "retry": 0.5},
    "no such job": REF,
    "another folder": {**REF, "job_id": "../../models"},
    "a job that steers terminals": {**REF, "job_id": "\x1b[2J"},
    "a job without a name": {**REF, "job_id": ""},
}

ANSWERED = {
    "request null": None,
    "request a list": [SECRET],
    "request a text": SECRET,
    "request empty": {},
    "request unknown": {"x": SECRET},
    "a model in another folder": {"digest": "../../registry"},
    "request in the wrong types": dict.fromkeys(
        ("image_uri", "inputs", "model", "target", "method", "layer", "fuse", "outputs"), 5
    ),
}

DROPPED_COMMANDS = {
    "nothing": "",
    "no JSON": SECRET,
    "a list": "[]",
    "null": "null",
    "bytes": b"\xff\xfe",
    "deep": nested(100_000),
    "no properties": question(properties=GONE),
    "a task": question(),
    "no method": command(method=GONE),
    "method a list": command(method=[SECRET]),
    "method unknown": command("os.system"),
    "arguments a list": command(arguments=[SECRET]),
    "arguments deep": command(arguments={"a": json.loads(nested(20))}),
    "destination a number": command(destination=5),
    "a regular expression": command(pattern="(a+)+$", matcher="pcre"),
    "a pattern without end": command(pattern="*a" * 5000, matcher="glob"),
    "an answer to a queue": command(reply_to={"exchange": "", "routing_key": "camfleet:leases"}),
    "an answer to nowhere": command(reply_to={"exchange": "reply.celery.pidbox"}),
    "pickled": question(
        body(raw=b"\x80\x04N."),
        headers={"clock": 1},
        content_type="application/x-python-serialize",
    ),
    "a clock without end": question(
        body(raw='{"method": "ping"}'), headers={"clock": 10**40, "expires": 0}
    ),
}

REFUSED_COMMANDS = {
    "shutdown": {},
    "pool_shrink": {"n": 100},
    "pool_grow": {"n": 100},
    "pool_restart": {},
    "autoscale": {"max": 0},
    "add_consumer": {"queue": SECRET},
    "cancel_consumer": {"queue": "camfleet.interactive"},
    "rate_limit": {"task_name": "camfleet.explain", "rate_limit": "1/h"},
    "time_limit": {"task_name": "camfleet.explain", "hard": 1},
    "revoke": {"task_id": "forged", "terminate": True},
    "terminate": {"task_id": "forged", "signal": "KILL"},
    "revoke_by_stamped_headers": {"headers": {"a": "b"}},
    "hello": {"from_node": "a", "revoked": {"forged": 1}},
    "election": {"id": "a", "topic": "b", "action": "c"},
    "memdump": {},
    "memsample": {},
    "objgraph": {},
}

UNACKED = {
    "no JSON": SECRET,
    "bytes": b"\xff\xfe",
    "an object": "{}",
    "a list": "[]",
    "too short": '[{"headers": {}, "properties": {}}, ""]',
    "no message": '[1, "", "camfleet.interactive"]',
    "message a list": '[[], "", "camfleet.interactive"]',
    "no headers": '[{"properties": {}}, "", "camfleet.interactive"]',
    "headers null": '[{"headers": null, "properties": {}}, "", "camfleet.interactive"]',
    "properties a text": '[{"headers": {}, "properties": "x"}, "", "camfleet.interactive"]',
    "queue a number": '[{"headers": {}, "properties": {}}, "", 7]',
    "queue null": '[{"headers": {}, "properties": {}}, "", null]',
    "exchange an object": '[{"headers": {}, "properties": {}}, {}, "camfleet.interactive"]',
    "deep": nested(100_000),
    "a forged message": json.dumps(
        [json.loads(question(headers__eta="9999-01-01")), "", "camfleet.interactive"]
    ),
}
