#!/usr/bin/env python3
"""Checks the golden frames with the independent decoder: each reads as its .json says, and each single flipped bit is refused."""

import json
import pathlib
import sys

import decode

golden = pathlib.Path(__file__).resolve().parents[2] / "reading" / "tests" / "golden"
files = sorted(golden.glob("*.hex"))
failed = 0
# One golden frame of every kind, and one of a kind that nobody knows.
if len(files) < 5:
    print(f"only {len(files)} golden frames in {golden}")
    failed += 1
for file in files:
    frame = bytes.fromhex(file.read_text())
    read = decode.decode(frame)
    if read != json.loads(file.with_suffix(".json").read_text()):
        print(f"{file.name} reads differently:\n{json.dumps(read, indent=2)}")
        failed += 1
    # Every byte of the frame, one bit each, the bit wandering: a verification takes milliseconds here.
    for at in range(0, len(frame)):
        changed = bytearray(frame)
        changed[at] ^= 1 << (at % 8)
        try:
            decode.decode(bytes(changed))
        except decode.Refused:
            continue
        print(f"{file.name}: a flipped bit in byte {at} was not noticed")
        failed += 1
print(f"{len(files)} golden frames checked by the independent decoder, {failed} problems")
sys.exit(failed > 0)
