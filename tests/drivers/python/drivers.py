"""How to read each chip with somebody else's driver.

A reader gets a bus and returns what the driver says, in Magpie's quantities and units: Cel, %RH, Pa, ug/m3, ppm, ppb, Ohm. It
does what the driver's own examples do, and waits as they do; it never looks at the chip by itself.
"""

import time

import busio
from bridge import Bridge, SMBus, Transceiver

BME_ADDRESS = 0x76
# How long a gas index is listened to: as tests/agree/gas_index.rs has it.
LISTENED_S = 2700


def adafruit_bme280(bridge: Bridge) -> dict:
    from adafruit_bme280 import basic

    sensor = basic.Adafruit_BME280_I2C(busio.I2C(bridge), address=BME_ADDRESS)
    return {"temperature": sensor.temperature, "humidity": sensor.humidity, "pressure": sensor.pressure * 100}


def pimoroni_bme280(bridge: Bridge) -> dict:
    from bme280 import BME280

    sensor = BME280(i2c_addr=BME_ADDRESS, i2c_dev=SMBus(bridge))
    sensor.setup(mode="forced")
    sensor.update_sensor()
    return {"temperature": sensor.temperature, "humidity": sensor.humidity, "pressure": sensor.pressure * 100}


def adafruit_bmp280(bridge: Bridge) -> dict:
    from adafruit_bmp280 import Adafruit_BMP280_I2C

    sensor = Adafruit_BMP280_I2C(busio.I2C(bridge), address=BME_ADDRESS)
    return {"temperature": sensor.temperature, "pressure": sensor.pressure * 100}


def pimoroni_bmp280(bridge: Bridge) -> dict:
    from bmp280 import BMP280

    sensor = BMP280(i2c_addr=BME_ADDRESS, i2c_dev=SMBus(bridge))
    sensor.setup(mode="forced")
    sensor.update_sensor()
    return {"temperature": sensor.temperature, "pressure": sensor.pressure * 100}


def adafruit_bme680(bridge: Bridge) -> dict:
    from adafruit_bme680 import Adafruit_BME680_I2C

    sensor = Adafruit_BME680_I2C(busio.I2C(bridge), address=BME_ADDRESS)
    return {
        "temperature": sensor.temperature,
        "humidity": sensor.humidity,
        "pressure": sensor.pressure * 100,
        "gas_resistance": sensor.gas,
    }


def pimoroni_bme680(bridge: Bridge) -> dict:
    import bme680

    sensor = bme680.BME680(i2c_addr=BME_ADDRESS, i2c_device=SMBus(bridge))
    sensor.set_gas_heater_temperature(320)
    sensor.set_gas_heater_duration(150)
    sensor.select_gas_heater_profile(0)
    # It gives up before the heater is done, and has the data the next time.
    _wait_for(lambda: sensor.get_sensor_data() and sensor.data.heat_stable)
    return {
        "temperature": sensor.data.temperature,
        "humidity": sensor.data.humidity,
        "pressure": sensor.data.pressure * 100,
        "gas_resistance": sensor.data.gas_resistance,
    }


def adafruit_sht31d(bridge: Bridge) -> dict:
    from adafruit_sht31d import SHT31D

    sensor = SHT31D(busio.I2C(bridge))
    return {"temperature": sensor.temperature, "humidity": sensor.relative_humidity}


def sensirion_sht3x(bridge: Bridge) -> dict:
    from sensirion_i2c_sht3x import Sht3xDevice
    from sensirion_i2c_sht3x.commands import Repeatability

    sensor = Sht3xDevice(_channel(bridge, 0x44))
    temperature, humidity = sensor.measure_single_shot(Repeatability.HIGH, False)
    return {"temperature": temperature.value, "humidity": humidity.value}


def adafruit_sht4x(bridge: Bridge) -> dict:
    from adafruit_sht4x import SHT4x

    temperature, humidity = SHT4x(busio.I2C(bridge)).measurements
    return {"temperature": temperature, "humidity": humidity}


def sensirion_sht4x(bridge: Bridge) -> dict:
    from sensirion_i2c_sht4x import Sht4xDevice

    temperature, humidity = Sht4xDevice(_channel(bridge, 0x44)).measure_high_precision()
    return {"temperature": temperature.value, "humidity": humidity.value}


def adafruit_ahtx0(bridge: Bridge) -> dict:
    from adafruit_ahtx0 import AHTx0

    sensor = AHTx0(busio.I2C(bridge))
    return {"temperature": sensor.temperature, "humidity": sensor.relative_humidity}


def adafruit_scd30(bridge: Bridge) -> dict:
    from adafruit_scd30 import SCD30

    sensor = SCD30(busio.I2C(bridge))
    _wait_for(lambda: sensor.data_available)
    return {"co2": sensor.CO2, "temperature": sensor.temperature, "humidity": sensor.relative_humidity}


def sensirion_scd30(bridge: Bridge) -> dict:
    from sensirion_i2c_scd30 import Scd30Device

    sensor = Scd30Device(_channel(bridge, 0x61))
    sensor.stop_periodic_measurement()
    sensor.soft_reset()
    time.sleep(2)
    sensor.start_periodic_measurement(0)
    co2, temperature, humidity = sensor.blocking_read_measurement_data()
    return {"co2": co2, "temperature": temperature, "humidity": humidity}


def adafruit_scd4x(bridge: Bridge) -> dict:
    from adafruit_scd4x import SCD4X

    sensor = SCD4X(busio.I2C(bridge))
    sensor.start_periodic_measurement()
    _wait_for(lambda: sensor.data_ready)
    return {"co2": sensor.CO2, "temperature": sensor.temperature, "humidity": sensor.relative_humidity}


def sensirion_scd4x(bridge: Bridge) -> dict:
    from sensirion_i2c_scd4x import Scd4xDevice

    sensor = Scd4xDevice(_channel(bridge, 0x62))
    sensor.stop_periodic_measurement()
    sensor.start_periodic_measurement()
    _wait_for(sensor.get_data_ready_status)
    co2, temperature, humidity = sensor.read_measurement()
    return {"co2": co2.value, "temperature": temperature.value, "humidity": humidity.value}


def adafruit_sgp30(bridge: Bridge) -> dict:
    from adafruit_sgp30 import Adafruit_SGP30

    sensor = Adafruit_SGP30(busio.I2C(bridge))
    for _ in range(40):
        eco2, tvoc = sensor.iaq_measure()
        time.sleep(1)
    return {"tvoc": tvoc, "eco2": eco2}


def sgp30_driver(bridge: Bridge) -> dict:
    from sgp30 import SGP30

    sensor = SGP30(SMBus(bridge))
    sensor.initialise()
    for _ in range(40):
        measured = sensor.measure()
        time.sleep(1)
    return {"tvoc": measured.tvoc, "eco2": measured.equivalent_co2}


def adafruit_sgp41(bridge: Bridge) -> dict:
    from adafruit_sgp41.sgp41 import SGP41

    sensor = SGP41(busio.I2C(bridge))
    for _ in _every_second(10):
        sensor.conditioning()
    for _ in _every_second(LISTENED_S - 10):
        voc, nox = sensor.measure_index()
    return {"voc_index": voc, "nox_index": nox}


def sensirion_sgp40(bridge: Bridge) -> dict:
    from adafruit_sgp41 import gas_index_algorithm as gas_index
    from sensirion_i2c_driver import I2cConnection
    from sensirion_i2c_sgp4x import Sgp40I2cDevice

    sensor = Sgp40I2cDevice(I2cConnection(Transceiver(bridge)))
    algorithm = gas_index.GasIndexAlgorithm(gas_index.ALGORITHM_TYPE_VOC)
    for _ in _every_second(LISTENED_S):
        voc = algorithm.process(sensor.measure_raw().ticks)
    return {"voc_index": voc}


def sensirion_sgp41(bridge: Bridge) -> dict:
    from adafruit_sgp41 import gas_index_algorithm as gas_index
    from sensirion_i2c_driver import I2cConnection
    from sensirion_i2c_sgp4x import Sgp41I2cDevice

    sensor = Sgp41I2cDevice(I2cConnection(Transceiver(bridge)))
    voc_algorithm = gas_index.GasIndexAlgorithm(gas_index.ALGORITHM_TYPE_VOC)
    nox_algorithm = gas_index.GasIndexAlgorithm(gas_index.ALGORITHM_TYPE_NOX)
    for _ in _every_second(10):
        voc_algorithm.process(sensor.conditioning().ticks)
    for _ in _every_second(LISTENED_S - 10):
        raw_voc, raw_nox = sensor.measure_raw()
        voc, nox = voc_algorithm.process(raw_voc.ticks), nox_algorithm.process(raw_nox.ticks)
    return {"voc_index": voc, "nox_index": nox}


def adafruit_ens160(bridge: Bridge) -> dict:
    from adafruit_ens160 import ENS160, NORMAL_OP

    sensor = ENS160(busio.I2C(bridge))
    _wait_for(lambda: sensor.data_validity == NORMAL_OP)
    time.sleep(1)
    return {"tvoc": sensor.TVOC, "eco2": sensor.eCO2}


def ens160(bridge: Bridge) -> dict:
    from ens160 import Driver, ICommunication, OpModes

    bus = SMBus(bridge)

    class Registers(ICommunication):
        def write(self, register, data):
            bus.write_i2c_block_data(0x53, register, [data] if isinstance(data, int) else data)

        def read(self, register, size):
            received = bus.read_i2c_block_data(0x53, register, size)
            return received[0] if size == 1 else received

    sensor = Driver(Registers())
    sensor.set_operating_mode(OpModes.RESET)
    time.sleep(0.25)
    sensor.set_operating_mode(OpModes.STANDARD)
    sensor.set_temp_compensation_celcius(25)
    sensor.set_rh_compensation(50)
    _wait_for(lambda: sensor.get_device_status().normal_operation)
    time.sleep(1)
    return {"tvoc": sensor.get_tvoc(), "eco2": sensor.get_eco2()}


def adafruit_pm25(bridge: Bridge) -> dict:
    from adafruit_pm25.i2c import PM25_I2C

    sensor = PM25_I2C(busio.I2C(bridge))
    time.sleep(40)
    # The driver's first frame is that of the start, whoever asked for it.
    sensor.read()
    time.sleep(3)
    measured = sensor.read()
    return {"pm1": measured["pm10 env"], "pm2_5": measured["pm25 env"], "pm10": measured["pm100 env"]}


def sensirion_sps30(bridge: Bridge) -> dict:
    from sensirion_i2c_sps30.commands import OutputFormat
    from sensirion_i2c_sps30.device import Sps30Device

    sensor = Sps30Device(_channel(bridge, 0x69))
    sensor.stop_measurement()
    sensor.start_measurement(OutputFormat.OUTPUT_FORMAT_FLOAT)
    time.sleep(60)
    _wait_for(lambda: sensor.read_data_ready_flag() == 1)
    pm1, pm2_5, pm4, pm10, *_ = sensor.read_measurement_values_float()
    return {"pm1": pm1, "pm2_5": pm2_5, "pm4": pm4, "pm10": pm10}


def sensirion_sen5x(bridge: Bridge) -> dict:
    from sensirion_i2c_driver import I2cConnection
    from sensirion_i2c_sen5x import Sen5xI2cDevice

    sensor = Sen5xI2cDevice(I2cConnection(Transceiver(bridge)))
    sensor.device_reset()
    time.sleep(1)
    sensor.start_measurement()
    # The gas indices need a minute to leave their blank-out, and the algorithm's learning hours are no matter here.
    time.sleep(120)
    _wait_for(sensor.read_data_ready)
    measured = sensor.read_measured_values()
    values = {
        "pm1": measured.mass_concentration_1p0.physical,
        "pm2_5": measured.mass_concentration_2p5.physical,
        "pm4": measured.mass_concentration_4p0.physical,
        "pm10": measured.mass_concentration_10p0.physical,
        "humidity": measured.ambient_humidity.percent_rh,
        "temperature": measured.ambient_temperature.degrees_celsius,
        "voc_index": measured.voc_index.scaled,
        "nox_index": measured.nox_index.scaled,
    }
    # A SEN50 and a SEN54 have less, and say so.
    return {quantity: value for quantity, value in values.items() if value is not None and value == value}


def _channel(bridge: Bridge, address: int):
    from sensirion_driver_adapters.i2c_adapter.i2c_channel import I2cChannel
    from sensirion_i2c_driver import CrcCalculator, I2cConnection

    crc = CrcCalculator(8, 0x31, 0xFF, 0x00)
    return I2cChannel(I2cConnection(Transceiver(bridge)), slave_address=address, crc=crc)


def _every_second(times: int):
    """As the gas index algorithm wants to be fed."""
    start = time.monotonic()
    for number in range(times):
        time.sleep(max(0, start + number - time.monotonic()))
        yield
    time.sleep(max(0, start + times - time.monotonic()))


def _wait_for(is_ready) -> None:
    """At most ten minutes of the bus's time: no chip here takes as long."""
    for _ in range(6000):
        if is_ready():
            return
        time.sleep(0.1)
    raise RuntimeError("not ready in ten minutes")


# By the names that the packages have in requirements.txt.
READERS = {
    "adafruit-circuitpython-ahtx0": adafruit_ahtx0,
    "adafruit-circuitpython-bme280": adafruit_bme280,
    "adafruit-circuitpython-bme680": adafruit_bme680,
    "adafruit-circuitpython-bmp280": adafruit_bmp280,
    "adafruit-circuitpython-ens160": adafruit_ens160,
    "adafruit-circuitpython-pm25": adafruit_pm25,
    "adafruit-circuitpython-scd30": adafruit_scd30,
    "adafruit-circuitpython-scd4x": adafruit_scd4x,
    "adafruit-circuitpython-sgp30": adafruit_sgp30,
    "adafruit-circuitpython-sgp41": adafruit_sgp41,
    "adafruit-circuitpython-sht31d": adafruit_sht31d,
    "adafruit-circuitpython-sht4x": adafruit_sht4x,
    "bme680": pimoroni_bme680,
    "bmp280": pimoroni_bmp280,
    "ens160": ens160,
    "pimoroni-bme280": pimoroni_bme280,
    "sensirion-i2c-scd30": sensirion_scd30,
    "sensirion-i2c-scd4x": sensirion_scd4x,
    "sensirion-i2c-sen5x": sensirion_sen5x,
    "sensirion-i2c-sgp4x (SGP40)": sensirion_sgp40,
    "sensirion-i2c-sgp4x (SGP41)": sensirion_sgp41,
    "sensirion-i2c-sht3x": sensirion_sht3x,
    "sensirion-i2c-sht4x": sensirion_sht4x,
    "sensirion-i2c-sps30": sensirion_sps30,
    "sgp30-driver": sgp30_driver,
}
