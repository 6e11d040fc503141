#!/usr/bin/env python3
"""Checks golden bytes with the independent decoder: frames, the .magpie file and the messages of the history protocol read as they
should, and what was changed or cut off is refused."""

import json
import pathlib
import sys

import archive
import decode
import history

here = pathlib.Path(__file__).resolve().parent
golden = here.parents[1] / "reading" / "tests" / "golden"


def refused(read, data):
    """Whether `read` takes these bytes for nothing."""
    try:
        read(data)
    except decode.Refused:
        return True
    return False


def flipped(data, at):
    """The same bytes with one bit changed, the bit wandering: a verification takes milliseconds here."""
    changed = bytearray(data)
    changed[at] ^= 1 << (at % 8)
    return bytes(changed)


def check_frames():
    files = sorted(golden.glob("*.hex"))
    # One golden frame of every kind, and one of a kind that nobody knows.
    if len(files) < 5:
        yield f"only {len(files)} golden frames in {golden}"
    for file in files:
        frame = bytes.fromhex(file.read_text())
        read = decode.decode(frame)
        if read != json.loads(file.with_suffix(".json").read_text()):
            yield f"{file.name} reads differently:\n{json.dumps(read, indent=2)}"
        for at in range(len(frame)):
            if not refused(decode.decode, flipped(frame, at)):
                yield f"{file.name}: a flipped bit in byte {at} was not noticed"


def check_archive():
    data = (golden / "frames.magpie").read_bytes()
    kinds = ["announcement", "readings", "clock_fix", "event", "unknown_kind"]
    frames = archive.frames(data)
    if frames != [bytes.fromhex((golden / f"{kind}.hex").read_text()) for kind in kinds]:
        yield "frames.magpie has other frames than the golden ones"
    for length in range(len(data)):
        if not refused(archive.frames, data[:length]):
            yield f"frames.magpie: a cut at byte {length} was not noticed"
    if not refused(archive.frames, data + b"\0"):
        yield "frames.magpie: a byte behind the end was not noticed"
    # Signatures cover the frames; what is around them must not change either.
    for at in set(range(len(data))) - positions(data, frames):
        changed = flipped(data, at)
        if not refused(lambda data: [decode.decode(frame) for frame in archive.frames(data)], changed):
            yield f"frames.magpie: a flipped bit in byte {at} was not noticed"


def positions(data, frames):
    """Where in the file the bytes of frames stand."""
    inside, at = set(), 0
    for frame in frames:
        at = data.index(frame, at)
        inside.update(range(at, at + len(frame)))
        at += len(frame)
    return inside


def check_history():
    file = here.parents[1] / "mesh" / "tests" / "golden" / "history.hex"
    messages = dict(line.split(" ") for line in file.read_text().splitlines() if not line.startswith("#"))
    expected = json.loads((here / "history.json").read_text())
    if messages.keys() != expected.keys():
        yield f"history.hex has {sorted(messages)}, and here is known what {sorted(expected)} say"
    for name, text in messages.items():
        read, data = history.request if name.endswith("_request") else history.response, bytes.fromhex(text)
        found = read(data)
        if found != expected.get(name):
            yield f"{name} of the history protocol reads differently:\n{json.dumps(found, indent=2)}"
        # Frames go to the end of a response: one that ends between two of them is a shorter one.
        whole = cuts(found) if name == "frames" else set()
        for length in set(range(len(data))) - whole:
            if not refused(read, data[:length]):
                yield f"{name} of the history protocol: a cut at byte {length} was not noticed"
        if not refused(read, data + b"\x80"):
            yield f"{name} of the history protocol: a byte too many was not noticed"


def cuts(found):
    """Where a response with frames may end: behind its header, and behind each frame. Here a length has one byte below 128, else two."""
    ends = {3}
    for frame in found["frames"]["frames"]:
        length = len(frame) // 2
        ends.add(max(ends) + (1 if length < 128 else 2) + length)
    return ends


problems = [*check_frames(), *check_archive(), *check_history()]
print(*problems, sep="\n", end="\n" if problems else "")
print(f"frames, .magpie file and history protocol checked by the independent decoder, {len(problems)} problems")
sys.exit(len(problems) > 0)
