"""Names that Adafruit's drivers import for chips with more pins than two. None is used on an I2C bus."""


class DigitalInOut:
    pass


class Direction:
    INPUT = "input"
    OUTPUT = "output"
