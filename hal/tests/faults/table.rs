//! What is expected of every chip.

use hal::sim::Fault;
use hal::{ChipAt, Model};

/// A chip, and what each fault looks like on it: faults as `hal::sim::Fault` has them.
pub struct Row {
    pub model: Model,
    /// The simulated chip that stands for it, one of `hal::sim::MODELS`.
    pub simulated: &'static str,
    /// How old what a good value says may be: the time between two measurements of a chip that measures by itself, and what its
    /// filter takes. After that a change of the air must be in it.
    pub lag_s: u64,
    /// What whoever wires it should know.
    pub note: &'static str,
    pub unplugged: Expected,
    pub busy: Expected,
    pub checksum: Expected,
    pub stuck: Expected,
    pub wrong_id: Expected,
    pub reset_contents: Expected,
    pub truncated: Expected,
    pub broken: Expected,
    pub power_loss: Expected,
}

/// What a fault looks like while it lasts, and how soon after its end all values are good at the latest.
pub struct Expected {
    /// Flag and reason of each sample, each once, in the order in which they come.
    pub looks: &'static [&'static str],
    /// From the last sample with the fault to the first good one, with one sample every 10 s.
    pub back_s: u64,
}

const fn seen(looks: &'static [&'static str], back_s: u64) -> Expected {
    Expected { looks, back_s }
}

impl Row {
    pub fn chip(&self) -> ChipAt {
        ChipAt::new(self.model, self.model.addresses()[0])
    }

    pub fn faults(&self) -> impl Iterator<Item = (Fault, &Expected)> {
        let expected = |fault| match fault {
            Fault::Unplugged => &self.unplugged,
            Fault::Busy => &self.busy,
            Fault::Checksum => &self.checksum,
            Fault::Stuck => &self.stuck,
            Fault::WrongId => &self.wrong_id,
            Fault::ResetContents => &self.reset_contents,
            Fault::Truncated => &self.truncated,
            Fault::Broken => &self.broken,
            Fault::PowerLoss => &self.power_loss,
        };
        Fault::ALL.iter().map(move |fault| (*fault, expected(*fault)))
    }

    /// Whether the chip gives raw signals, of which the driver makes an index.
    pub fn is_index_of_the_driver(&self) -> bool {
        matches!(self.simulated, "SGP40" | "SGP41")
    }
}

pub const TABLE: &[Row] = &[
    Row {
        model: Model::Bme280,
        simulated: "BME280",
        lag_s: 0,
        note: "Bosch. One pin chooses the address. It sends no checksum, so everything is read twice, in other pieces.",
        unplugged: seen(&["missing: no_answer"], 10),
        busy: seen(&["missing: not_ready"], 40),
        checksum: seen(&["good"], 10),
        stuck: seen(&["good"], 10),
        wrong_id: seen(&["missing: wrong_chip"], 40),
        reset_contents: seen(&["missing: reset_pattern"], 40),
        truncated: seen(&["missing: checksum"], 40),
        broken: seen(&["good"], 10),
        power_loss: seen(&["missing: no_answer", "missing: reset_pattern"], 20),
    },
    Row {
        model: Model::Bmp280,
        simulated: "BMP280",
        lag_s: 0,
        note: "Bosch's BME280 without humidity, and often sold as one: a scan tells them apart by their ids.",
        unplugged: seen(&["missing: no_answer"], 10),
        busy: seen(&["missing: not_ready"], 40),
        checksum: seen(&["good"], 10),
        stuck: seen(&["good"], 10),
        wrong_id: seen(&["missing: wrong_chip"], 40),
        reset_contents: seen(&["missing: reset_pattern"], 40),
        truncated: seen(&["missing: checksum"], 40),
        broken: seen(&["good"], 10),
        power_loss: seen(&["missing: no_answer"], 10),
    },
    Row {
        model: Model::Bme680,
        simulated: "BME680",
        lag_s: 0,
        note: "Bosch. Each sample heats a plate to 320 °C for 150 ms, which warms the chip, the more the oftener it is sampled. The gas \
               resistance says something only beside earlier ones of the same chip. Bosch's index of air quality needs their closed library \
               and is not made here.",
        unplugged: seen(&["missing: no_answer"], 10),
        busy: seen(&["missing: not_ready"], 40),
        checksum: seen(&["good"], 10),
        stuck: seen(&["good"], 10),
        wrong_id: seen(&["missing: wrong_chip"], 40),
        reset_contents: seen(&["missing: reset_pattern"], 40),
        truncated: seen(&["missing: checksum"], 40),
        broken: seen(&["gas_resistance suspect: warming_up", "gas_resistance fail: sensor_fault"], 10),
        power_loss: seen(&["missing: no_answer", "missing: reset_pattern"], 20),
    },
    Row {
        model: Model::Bme688,
        simulated: "BME688",
        lag_s: 0,
        note: "As the BME680, with another gas sensor.",
        unplugged: seen(&["missing: no_answer"], 10),
        busy: seen(&["missing: not_ready"], 40),
        checksum: seen(&["good"], 10),
        stuck: seen(&["good"], 10),
        wrong_id: seen(&["missing: wrong_chip"], 40),
        reset_contents: seen(&["missing: reset_pattern"], 40),
        truncated: seen(&["missing: checksum"], 40),
        broken: seen(&["gas_resistance suspect: warming_up", "gas_resistance fail: sensor_fault"], 10),
        power_loss: seen(&["missing: no_answer", "missing: reset_pattern"], 20),
    },
    Row {
        model: Model::Sht3x,
        simulated: "SHT31",
        lag_s: 0,
        note: "Sensirion SHT30, SHT31, SHT33, SHT35. The heater stays off.",
        unplugged: seen(&["missing: no_answer"], 10),
        busy: seen(&["missing: not_ready", "missing: no_answer"], 10),
        checksum: seen(&["missing: checksum"], 40),
        stuck: seen(&["good"], 10),
        wrong_id: seen(&["missing: no_answer", "missing: wrong_chip"], 40),
        reset_contents: seen(&["missing: not_ready", "missing: wrong_chip"], 40),
        truncated: seen(&["missing: checksum"], 40),
        broken: seen(&["good"], 10),
        power_loss: seen(&["missing: no_answer", "suspect: reset_pattern"], 20),
    },
    Row {
        model: Model::Sht4x,
        simulated: "SHT40",
        lag_s: 0,
        note: "Sensirion SHT40, SHT41, SHT45. The heater stays off.",
        unplugged: seen(&["missing: no_answer"], 10),
        busy: seen(&["missing: not_ready", "missing: no_answer"], 10),
        checksum: seen(&["missing: checksum"], 40),
        stuck: seen(&["good"], 10),
        wrong_id: seen(&["missing: not_ready", "missing: wrong_chip"], 40),
        reset_contents: seen(&["missing: not_ready", "missing: wrong_chip"], 40),
        truncated: seen(&["missing: checksum"], 40),
        broken: seen(&["good"], 10),
        power_loss: seen(&["missing: no_answer"], 10),
    },
    Row {
        model: Model::Aht20,
        simulated: "AHT20",
        lag_s: 0,
        note: "Asair AHT20, and DHT20, which is one in a case. It has no id and only one address; sampled oftener than every two seconds it warms \
               itself.",
        unplugged: seen(&["missing: no_answer"], 10),
        busy: seen(&["missing: not_ready"], 40),
        checksum: seen(&["missing: checksum"], 40),
        stuck: seen(&["good"], 10),
        wrong_id: seen(&["missing: no_answer", "missing: wrong_chip"], 40),
        reset_contents: seen(&["missing: reset_pattern"], 40),
        truncated: seen(&["missing: checksum"], 40),
        broken: seen(&["good"], 10),
        power_loss: seen(&["missing: no_answer", "missing: reset_pattern"], 20),
    },
    Row {
        model: Model::Scd30,
        simulated: "SCD30",
        lag_s: 2,
        note: "Sensirion. It stretches the clock, which a Raspberry Pi 1 to 3 gets wrong at full speed: see bus speed above. It measures every 2 s, \
               also after a loss of power. The air pressure that another chip of the node measures is told to it; without one, that of the \
               altitude in the node's `position`; without either its CO2 is off by 1 % for every 85 m above the sea. Its temperature and humidity are those of the module, which warms itself.",
        unplugged: seen(&["missing: no_answer"], 20),
        busy: seen(&["missing: not_ready", "missing: warming_up"], 40),
        checksum: seen(&["missing: checksum"], 40),
        stuck: seen(&["good"], 10),
        wrong_id: seen(&["missing: no_answer", "missing: wrong_chip"], 50),
        reset_contents: seen(&["missing: not_ready", "missing: wrong_chip"], 50),
        truncated: seen(&["missing: checksum"], 40),
        broken: seen(&["good"], 10),
        power_loss: seen(&["missing: no_answer", "missing: warming_up", "missing: not_ready"], 22),
    },
    Row {
        model: Model::Scd4x,
        simulated: "SCD41",
        lag_s: 5,
        note: "Sensirion SCD40, SCD41. It measures every 5 s by itself and is stopped when the program ends. The air pressure that another chip of \
               the node measures is told to it; without one, that of the altitude in the node's `position`; without either its CO2 is off \
               by 1 % for every 85 m above the sea. Its self test takes 10 s and is \
               not run.",
        unplugged: seen(&["missing: no_answer"], 20),
        busy: seen(&["missing: not_ready", "missing: warming_up"], 30),
        checksum: seen(&["missing: checksum"], 50),
        stuck: seen(&["good"], 10),
        wrong_id: seen(&["missing: no_answer", "missing: wrong_chip"], 50),
        reset_contents: seen(&["missing: no_answer", "missing: wrong_chip"], 50),
        truncated: seen(&["missing: checksum"], 50),
        broken: seen(&["good"], 10),
        power_loss: seen(&["missing: no_answer", "missing: warming_up", "missing: not_ready"], 30),
    },
    Row {
        model: Model::Sgp30,
        simulated: "SGP30",
        lag_s: 1,
        note: "Sensirion. Temperature and humidity of another chip of the node are told to it. For 15 s after its start it says nothing. It compares \
               the air with a baseline that it learns in twelve hours; the node keeps that for up to a week without power.",
        unplugged: seen(&["missing: no_answer"], 30),
        busy: seen(&["missing: no_answer"], 30),
        checksum: seen(&["missing: checksum"], 60),
        stuck: seen(&["good"], 10),
        wrong_id: seen(&["missing: wrong_chip"], 60),
        reset_contents: seen(&["missing: wrong_chip"], 60),
        truncated: seen(&["missing: checksum"], 60),
        broken: seen(&["good"], 10),
        power_loss: seen(&["missing: warming_up"], 30),
    },
    Row {
        model: Model::Sgp40,
        simulated: "SGP40",
        lag_s: 1,
        note: "Sensirion. The index is computed on the node by Sensirion's algorithm, from one signal a second; it says how the air compares with \
               that of the last day here. For 45 s after a start it is missing, then suspect until three minutes are over; its tolerances are \
               kept after an hour. What it learned in three hours or more outlasts an interruption of ten minutes. A signal that has not moved at \
               all for two minutes is none.",
        unplugged: seen(&["missing: no_answer"], 190),
        busy: seen(&["missing: no_answer"], 190),
        checksum: seen(&["missing: checksum"], 220),
        stuck: seen(&["good", "missing: flat_line"], 190),
        wrong_id: seen(&["missing: wrong_chip"], 220),
        reset_contents: seen(&["missing: wrong_chip"], 220),
        truncated: seen(&["missing: checksum"], 220),
        broken: seen(&["good"], 10),
        power_loss: seen(&["missing: warming_up", "suspect: warming_up"], 190),
    },
    Row {
        model: Model::Sgp41,
        simulated: "SGP41",
        lag_s: 1,
        note: "As the SGP40, with NOx, whose index always begins anew and keeps its tolerances after six hours. At its start the chip is conditioned \
               for nine seconds and never longer, which would damage it.",
        unplugged: seen(&["missing: no_answer"], 190),
        busy: seen(&["missing: no_answer"], 190),
        checksum: seen(&["missing: checksum"], 220),
        stuck: seen(&["good", "missing: flat_line"], 190),
        wrong_id: seen(&["missing: wrong_chip"], 220),
        reset_contents: seen(&["missing: wrong_chip"], 220),
        truncated: seen(&["missing: checksum"], 220),
        broken: seen(&["good"], 10),
        power_loss: seen(&["missing: warming_up", "suspect: warming_up"], 190),
    },
    Row {
        model: Model::Ens160,
        simulated: "ENS160",
        lag_s: 2,
        note: "ScioSense. Three minutes after each start, and in the first hour of its life, it says of itself that it warms up. Temperature and \
               humidity of another chip of the node are told to it. It goes on measuring when the program ends.",
        unplugged: seen(&["missing: no_answer"], 200),
        busy: seen(&["missing: not_ready", "missing: warming_up"], 230),
        checksum: seen(&["missing: checksum"], 40),
        stuck: seen(&["good"], 10),
        wrong_id: seen(&["missing: wrong_chip"], 230),
        reset_contents: seen(&["missing: reset_pattern"], 230),
        truncated: seen(&["missing: checksum"], 40),
        broken: seen(&["missing: sensor_fault"], 10),
        power_loss: seen(
            &["missing: no_answer", "missing: warming_up", "suspect: warming_up", "missing: reset_pattern"],
            200,
        ),
    },
    Row {
        model: Model::Pmsa003i,
        simulated: "PMSA003I",
        lag_s: 3,
        note: "Plantower. Wants 5 V for its fan. Nothing in what it sends tells that its power was away for a moment, after which the values are too \
               small for half a minute. So its frames are looked at every two seconds, and one without a particle, one with less than half of \
               the particles before it, or seven seconds without any are taken for that.",
        unplugged: seen(&["missing: no_answer"], 50),
        busy: seen(&["missing: no_answer"], 50),
        checksum: seen(&["missing: checksum"], 40),
        stuck: seen(&["good"], 10),
        wrong_id: seen(&["missing: wrong_chip"], 80),
        reset_contents: seen(&["suspect: reset_pattern"], 40),
        truncated: seen(&["missing: checksum"], 40),
        broken: seen(&["missing: sensor_fault"], 10),
        power_loss: seen(&["suspect: reset_pattern", "suspect: warming_up"], 44),
    },
    Row {
        model: Model::Sps30,
        simulated: "SPS30",
        lag_s: 1,
        note: "Sensirion. Wants 5 V, and its pin SEL on ground. With samples five minutes apart or more, fan and laser rest in between. The fan is \
               cleaned once a week, which takes ten seconds.",
        unplugged: seen(&["missing: no_answer"], 40),
        busy: seen(&["missing: not_ready", "missing: warming_up"], 30),
        checksum: seen(&["missing: checksum"], 70),
        stuck: seen(&["good"], 10),
        wrong_id: seen(&["missing: not_ready", "missing: wrong_chip"], 70),
        reset_contents: seen(&["missing: not_ready"], 60),
        truncated: seen(&["missing: checksum"], 70),
        broken: seen(&["missing: sensor_fault", "missing: warming_up"], 70),
        power_loss: seen(
            &["missing: no_answer", "missing: warming_up", "suspect: warming_up", "missing: not_ready"],
            60,
        ),
    },
    Row {
        model: Model::Sen50,
        simulated: "SEN50",
        lag_s: 1,
        note: "Sensirion. Wants 5 V, and its pin SEL on ground. It measures on when the program was killed, and does not tell its name then: a scan \
               knows it by its values.",
        unplugged: seen(&["missing: no_answer"], 40),
        busy: seen(&["missing: not_ready", "missing: warming_up"], 70),
        checksum: seen(&["missing: checksum"], 70),
        stuck: seen(&["good"], 10),
        wrong_id: seen(&["missing: not_ready", "missing: wrong_chip"], 70),
        reset_contents: seen(&["missing: not_ready", "missing: wrong_chip"], 70),
        truncated: seen(&["missing: checksum"], 70),
        broken: seen(&["fail: sensor_fault"], 10),
        power_loss: seen(
            &["missing: no_answer", "missing: warming_up", "suspect: warming_up", "missing: not_ready"],
            40,
        ),
    },
    Row {
        model: Model::Sen54,
        simulated: "SEN54",
        lag_s: 1,
        note: "As the SEN50, with temperature, humidity and VOC. The index comes from Sensirion's algorithm in the chip.",
        unplugged: seen(&["missing: no_answer"], 190),
        busy: seen(&["missing: not_ready", "missing: warming_up"], 220),
        checksum: seen(&["missing: checksum"], 220),
        stuck: seen(&["good"], 10),
        wrong_id: seen(&["missing: not_ready", "missing: wrong_chip"], 220),
        reset_contents: seen(&["missing: not_ready", "missing: wrong_chip"], 220),
        truncated: seen(&["missing: checksum"], 220),
        broken: seen(&["pm1 pm2_5 pm4 pm10 fail: sensor_fault"], 10),
        power_loss: seen(
            &[
                "missing: no_answer",
                "missing: warming_up",
                "pm1 pm2_5 pm4 pm10 voc_index suspect: warming_up",
                "voc_index suspect: warming_up",
                "missing: not_ready",
            ],
            190,
        ),
    },
    Row {
        model: Model::Sen55,
        simulated: "SEN55",
        lag_s: 1,
        note: "As the SEN54, with NOx.",
        unplugged: seen(&["missing: no_answer"], 190),
        busy: seen(&["missing: not_ready", "missing: warming_up"], 220),
        checksum: seen(&["missing: checksum"], 220),
        stuck: seen(&["good"], 10),
        wrong_id: seen(&["missing: not_ready", "missing: wrong_chip"], 220),
        reset_contents: seen(&["missing: not_ready", "missing: wrong_chip"], 220),
        truncated: seen(&["missing: checksum"], 220),
        broken: seen(&["pm1 pm2_5 pm4 pm10 fail: sensor_fault"], 10),
        power_loss: seen(
            &[
                "missing: no_answer",
                "missing: warming_up",
                "pm1 pm2_5 pm4 pm10 voc_index nox_index suspect: warming_up",
                "voc_index nox_index suspect: warming_up",
                "missing: not_ready",
                "pm1 pm2_5 pm4 pm10 voc_index suspect: warming_up; nox_index missing: warming_up",
            ],
            190,
        ),
    },
];
