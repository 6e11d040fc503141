"""Reads chips with the drivers of others, as it is told on standard input:

    read adafruit-circuitpython-bme280

and answers on standard output, after whatever the driver asked of the bus (see bridge.py), with one of

    values {"temperature": 21.5, ...}
    failed RuntimeError: ...
"""

import json
import sys
import traceback

from bridge import Bridge

bridge = Bridge()
bridge.set_clock()

# The drivers are imported only now, with the bus's clock in place.
from drivers import READERS  # noqa: E402


def outcome(name: str) -> str:
    reader = READERS.get(name)
    if reader is None:
        return f"failed no reader for {name}"
    try:
        return f"values {json.dumps(reader(bridge))}"
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return f"failed {type(error).__name__}: {error}".splitlines()[0]


def main() -> None:
    request = bridge.listen()
    while True:
        _, _, name = request.partition("read ")
        request = bridge.ask(outcome(name))


main()
