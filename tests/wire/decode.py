#!/usr/bin/env python3
"""Reads Magpie frames by docs/wire.md alone. Shares no code with the Rust crates and needs only Python.

    decode.py FILE.hex...    one JSON object a frame
"""

import hashlib
import json
import struct
import sys

DOMAIN = b"magpie/frame/1\0"
MAX_FRAME_BYTES = 8192
KINDS = {1: "announcement", 2: "readings", 3: "clock_fix", 4: "event"}


class Refused(Exception):
    """The bytes are no frame."""


class Bytes:
    """Takes fields off the front of some bytes (postcard's encodings)."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if count > len(self.data) - self.at:
            raise Refused("cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def u8(self):
        return self.take(1)[0]

    def varint(self, bits):
        """LEB128, shortest form only."""
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= 70:
                raise Refused("varint too long")
        if value >= 1 << bits:
            raise Refused("varint too large")
        if shift > 7 and byte == 0:
            raise Refused("varint not in its shortest form")
        return value

    def zigzag(self, bits):
        value = self.varint(bits)
        return (value >> 1) ^ -(value & 1)

    def text(self, most):
        length = self.varint(64)
        if length > most:
            raise Refused("text too long")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise Refused("text is not UTF-8") from None

    def count(self, most):
        count = self.varint(64)
        if count > most:
            raise Refused("list too long")
        return count

    def option(self, read):
        present = self.u8()
        if present > 1:
            raise Refused("option is neither 0 nor 1")
        return read() if present else None

    def f32(self):
        (value,) = struct.unpack("<f", self.take(4))
        if value != value or value in (float("inf"), float("-inf")):
            raise Refused("value is not finite")
        return value

    def end(self):
        if self.at != len(self.data):
            raise Refused("trailing bytes")


def decode(frame):
    """The frame as a dict; raises Refused."""
    if len(frame) > MAX_FRAME_BYTES:
        raise Refused("too large")
    if len(frame) < 65:
        raise Refused("cut short")
    if frame[0] != 1:
        raise Refused(f"version {frame[0]}")
    unsigned, signature = frame[:-64], frame[-64:]
    fields = Bytes(unsigned[1:])
    key = fields.take(32)
    result = {
        "node": peer_id(key),
        "epoch": fields.take(8).hex(),
        "seq": fields.varint(64),
        "boot": fields.take(8).hex(),
        "uptime_ms": fields.varint(64),
        "time_us": fields.zigzag(64),
        "clock": fields.u8(),
        "kind": fields.varint(16),
    }
    payload = fields.take(fields.varint(64))
    fields.end()
    if result["seq"] == 0:
        raise Refused("seq 0")
    if not verify(key, DOMAIN + unsigned, signature):
        raise Refused("signature")
    name = KINDS.get(result["kind"])
    if name is None:
        result["payload"] = payload.hex()
    else:
        fields = Bytes(payload)
        result[name] = globals()[name](fields)
        fields.end()
    return result


def announcement(fields):
    return {
        "place": "/".join(fields.text(32) for _ in range(3)),
        "addresses": [fields.text(128) for _ in range(fields.count(16))],
        "sensors": [
            {
                "model": fields.text(32),
                "bus": fields.text(32),
                "address": fields.u8(),
                "serial": fields.text(64),
                "correction": fields.text(64),
                "simulated": boolean(fields),
            }
            for _ in range(fields.count(32))
        ],
        "firmware": fields.text(32),
        "position": fields.option(
            lambda: {
                "latitude_e7": fields.zigzag(32),
                "longitude_e7": fields.zigzag(32),
                "altitude_m": fields.option(lambda: fields.zigzag(16)),
            }
        ),
        "previous": fields.option(lambda: {"epoch": fields.take(8).hex(), "last_seq": fields.varint(64)}),
        "certificate": fields.take(fields.count(512)).hex(),
    }


def boolean(fields):
    value = fields.u8()
    if value > 1:
        raise Refused("bool is neither 0 nor 1")
    return value == 1


def readings(fields):
    return {
        "announcement": fields.varint(64),
        "readings": [reading(fields) for _ in range(fields.count(255))],
    }


def reading(fields):
    result = {"sensor": fields.u8(), "quantity": fields.varint(16)}
    status = fields.u8()
    if status & ~0x1F:
        raise Refused("reserved status bits")
    flag, has_raw = status & 0x0F, status & 0x10
    result["reason"] = fields.u8()
    result["flag"] = flag
    result["value"] = None if flag == 9 else fields.f32()
    result["raw"] = fields.f32() if has_raw else None
    return result


def clock_fix(fields):
    return {
        "boot": fields.take(8).hex(),
        "wall_at_zero_us": fields.zigzag(64),
        "uncertainty_ms": fields.varint(32),
    }


def event(fields):
    return {"code": fields.varint(16), "sensor": fields.option(fields.u8), "detail": fields.text(128)}


# The PeerId of an Ed25519 key (libp2p specs, peer-ids).


def peer_id(key):
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    data = bytes.fromhex("002408011220") + key
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = alphabet[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


# Ed25519 verification, RFC 8032 section 5.1.7, cofactorless, with points of small order refused.

P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def add(a, b):
    a1, a2, a3, a4 = a
    b1, b2, b3, b4 = b
    e, f = (a2 - a1) * (b2 - b1), (a2 + a1) * (b2 + b1)
    g, h = 2 * a4 * b4 * D, 2 * a3 * b3
    e, f, g, h = f - e, h - g, h + g, f + e
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def equal(a, b):
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def point(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * SQRT_M1 % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def verify(key, message, signature):
    a, r = point(key), point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= Q:
        return False
    if any(equal(multiply(8, p), (0, 1, 1, 0)) for p in (a, r)):
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % Q
    return equal(multiply(s, BASE), add(r, multiply(h, a)))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        with open(name, encoding="ascii") as file:
            print(json.dumps(decode(bytes.fromhex(file.read()))))
