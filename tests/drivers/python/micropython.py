"""What Adafruit's drivers want of MicroPython: a hint for its compiler, which is nothing here."""


def const(value):
    return value
