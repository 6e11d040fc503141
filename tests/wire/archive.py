"""Reads .magpie files by docs/wire.md alone."""

from decode import MAX_FRAME_BYTES, Bytes, Refused

MAGIC = b"magpie\0"


def frames(data):
    """The frames of a file, each as bytes; raises Refused where the file is not whole. Signatures are not looked at."""
    fields = Bytes(data)
    if fields.take(len(MAGIC)) != MAGIC:
        raise Refused("no .magpie file")
    if fields.u8() != 1:
        raise Refused("another version of .magpie file")
    found = []
    while length := fields.varint(64):
        if length > MAX_FRAME_BYTES:
            raise Refused("frame too large")
        found.append(fields.take(length))
    if fields.varint(64) != len(found):
        raise Refused("wrong number of frames")
    fields.end()
    return found
