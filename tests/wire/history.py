"""Reads the messages of /magpie/history/1 by docs/wire.md alone."""

from decode import MAX_FRAME_BYTES, Bytes, Refused

MAX_REQUEST_BYTES = 128
MAX_RESPONSE_BYTES = 73_728
MAX_RUNS = 1024
MAX_FRAMES = 2048


def request(data):
    """A request as a dict; raises Refused."""
    if len(data) > MAX_REQUEST_BYTES:
        raise Refused("request too large")
    fields = Bytes(data)
    number = fields.varint(32)
    if number == 0:
        result = {"summary": {"node": fields.take(32).hex(), "since_us": fields.option(lambda: fields.zigzag(64))}}
    elif number == 1:
        wanted = {
            "node": fields.take(32).hex(),
            "epoch": fields.take(8).hex(),
            "first": fields.varint(64),
            "last": fields.varint(64),
            "max_bytes": fields.varint(32),
        }
        if not 1 <= wanted["first"] <= wanted["last"]:
            raise Refused("no range of frames")
        result = {"frames": wanted}
    else:
        raise Refused(f"request {number}")
    fields.end()
    return result


def response(data):
    """A response as a dict, frames as their bytes in hex; raises Refused."""
    if len(data) > MAX_RESPONSE_BYTES:
        raise Refused("response too large")
    fields = Bytes(data)
    number = fields.varint(32)
    if number == 0:
        result = {"summary": summary(fields)}
    elif number == 1:
        result = {"frames": {"next": fields.varint(64), "frames": frames(fields)}}
    elif number == 2:
        result = {"busy": {"retry_after_ms": fields.varint(32)}}
    else:
        raise Refused(f"response {number}")
    fields.end()
    return result


def summary(fields):
    def place():
        return {"epoch": fields.take(8).hex(), "seq": fields.varint(64)}

    def run():
        return {
            "epoch": fields.take(8).hex(),
            "first": fields.varint(64),
            "last": fields.varint(64),
            "frames": fields.varint(64),
            "gone_to": fields.varint(64),
        }

    first, older = fields.option(place), fields.u8()
    if older > 1:
        raise Refused("bool is neither 0 nor 1")
    return {"first": first, "older": older == 1, "runs": [run() for _ in range(fields.count(MAX_RUNS))]}


def frames(fields):
    found = []
    while fields.at < len(fields.data):
        length = fields.varint(64)
        if length > MAX_FRAME_BYTES or len(found) == MAX_FRAMES:
            raise Refused("more than a response holds")
        found.append(fields.take(length).hex())
    return found
