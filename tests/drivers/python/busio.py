"""Adafruit's `busio`, of which the drivers here use the I2C bus."""

from bridge import Bridge


class I2C:
    """The simulated bus. There is one user, so the lock is always to be had."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def try_lock(self) -> bool:
        return True

    def unlock(self) -> None:
        pass

    def scan(self) -> list[int]:
        return [address for address in range(0x08, 0x78) if self._answers(address)]

    def _answers(self, address: int) -> bool:
        try:
            self._bridge.transfer(address, b"", 0)
        except OSError:
            return False
        return True

    def writeto(self, address, buffer, *, start=0, end=None):
        self._bridge.transfer(address, bytes(buffer)[start:end], None)

    def readfrom_into(self, address, buffer, *, start=0, end=None):
        end = len(buffer) if end is None else end
        buffer[start:end] = self._bridge.transfer(address, None, end - start)

    def writeto_then_readfrom(
        self, address, buffer_out, buffer_in, *, out_start=0, out_end=None, in_start=0, in_end=None
    ):
        in_end = len(buffer_in) if in_end is None else in_end
        received = self._bridge.transfer(address, bytes(buffer_out)[out_start:out_end], in_end - in_start)
        buffer_in[in_start:in_end] = received


class SPI:
    pass


class UART:
    pass
