"""The simulated I2C bus as seen from Python, and its clock.

Requests go out on standard output and answers come in on standard input, a line each:

    transfer 76 d0 1      ->  ok 60          address, bytes to write or -, number of bytes to read or -
    transfer 76 - 2       ->  nack           nobody acknowledged
    wait 40000000         ->  ok 60040000000 nanoseconds; what the clock says then
    clock                 ->  ok 60040000000
"""

import errno
import sys
import time


class Bridge:
    """One transfer or wait at a time, on the bus that the other end has made for this reading."""

    def __init__(self) -> None:
        self._requests = sys.stdout
        self._answers = sys.stdin
        # A driver that prints must not talk into the requests.
        sys.stdout = sys.stderr

    def transfer(self, address: int, write: bytes | None, read: int | None) -> bytes:
        """A write, a read, or a write and a read with a repeated start between them."""
        written = "-" if write is None else write.hex() or "empty"
        received = self.ask(f"transfer {address:02x} {written} {'-' if read is None else read}")
        if received == "nack":
            raise OSError(errno.EREMOTEIO, f"no acknowledgement from 0x{address:02x}")
        return bytes.fromhex(received.removeprefix("ok").strip())

    def wait(self, seconds: float) -> None:
        self.ask(f"wait {max(0, round(seconds * 1e9))}")

    def clock_ns(self) -> int:
        return int(self.ask("clock").removeprefix("ok"))

    def ask(self, request: str) -> str:
        """Sends a line; an end of the answers ends this program."""
        print(request, file=self._requests, flush=True)
        return self.listen()

    def listen(self) -> str:
        line = self._answers.readline()
        if not line:
            sys.exit(0)
        return line.strip()

    def set_clock(self) -> None:
        """From now on Python's time is the bus's. To be called before drivers are imported, as they may import `sleep`."""
        time.sleep = self.wait
        time.monotonic_ns = time.perf_counter_ns = time.time_ns = self.clock_ns
        time.monotonic = time.perf_counter = time.time = lambda: self.clock_ns() / 1e9


class SMBus:
    """The calls of `smbus2.SMBus` that the drivers here make."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def read_byte(self, address, force=None):
        return self._bridge.transfer(address, None, 1)[0]

    def write_byte(self, address, value, force=None):
        self._bridge.transfer(address, bytes([value]), None)

    def read_byte_data(self, address, register, force=None):
        return self._bridge.transfer(address, bytes([register]), 1)[0]

    def write_byte_data(self, address, register, value, force=None):
        self._bridge.transfer(address, bytes([register, value]), None)

    def read_i2c_block_data(self, address, register, length, force=None):
        return list(self._bridge.transfer(address, bytes([register]), length))

    def write_i2c_block_data(self, address, register, data, force=None):
        self._bridge.transfer(address, bytes([register, *data]), None)

    def i2c_rdwr(self, *messages):
        """Each message is its own transfer: no driver here chains them."""
        for message in messages:
            if message.flags & 1:
                received = self._bridge.transfer(message.addr, None, message.len)
                for index, byte in enumerate(received):
                    message.buf[index] = byte
            else:
                self._bridge.transfer(message.addr, bytes(message), None)

    def close(self):
        pass


class Transceiver:
    """What Sensirion's drivers reach a bus through (`sensirion_i2c_driver.transceiver_v1`)."""

    API_VERSION = 1
    channel_count = None
    description = "simulated bus"
    _OK, _NACK = 0, 2

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def transceive(self, slave_address, tx_data, rx_length, read_delay, timeout):
        received = b""
        try:
            if tx_data is not None:
                self._bridge.transfer(slave_address, bytes(tx_data), None)
            if read_delay > 0:
                time.sleep(read_delay)
            if rx_length is not None:
                received = self._bridge.transfer(slave_address, None, rx_length)
        except OSError as error:
            return self._NACK, error, received
        return self._OK, None, received
