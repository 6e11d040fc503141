//! What a frame carries. Each kind's layout is frozen: a new field is a new kind.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{BootId, Epoch, EventCode, Flag, Kind, Place, Quantity, Reason, Text};

/// Readings in one frame, at most: what one sampling tick of every supported sensor yields, twice over.
pub const MAX_READINGS: usize = 255;
/// Sensors of one node, at most.
pub const MAX_SENSORS: usize = 32;
/// Addresses in an announcement, at most.
pub const MAX_ADDRESSES: usize = 16;
/// Bytes of a certificate, at most.
pub const MAX_CERTIFICATE_BYTES: usize = 512;

/// The payload of a frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// Who and where the node is, and what its sensors are.
    Announcement(Announcement),
    /// Readings of one sampling tick.
    Readings(Readings),
    /// Dates the frames of one boot.
    ClockFix(ClockFix),
    /// Something happened to the node.
    Event(Event),
    /// A kind that this build does not know: kept as it came.
    Unknown(Kind, Box<[u8]>),
}

/// Who and where the node is. Always the first frame of an epoch; made anew when something changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Announcement {
    /// City, area and name.
    pub place: Place,
    /// Multiaddresses that the node can be dialled on, without `/p2p/`.
    #[serde(deserialize_with = "bounded::<_, _, MAX_ADDRESSES>")]
    pub addresses: Vec<Text<128>>,
    /// Its sensors; readings refer to them by their position here.
    #[serde(deserialize_with = "bounded::<_, _, MAX_SENSORS>")]
    pub sensors: Vec<Sensor>,
    /// The version of the program.
    pub firmware: Text<32>,
    /// Where on earth, only if the owner says so.
    pub position: Option<Position>,
    /// The epoch before this one, as far as the store knew it.
    pub previous: Option<Previous>,
    /// What the city's authority says of this node; opaque here, empty for none.
    #[serde(deserialize_with = "bounded::<_, _, MAX_CERTIFICATE_BYTES>")]
    pub certificate: Vec<u8>,
}

/// One sensor of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sensor {
    /// The chip, e.g. `BME280`.
    pub model: Text<32>,
    /// The bus, e.g. `i2c-1`.
    pub bus: Text<32>,
    /// Its 7-bit I2C address; 0 for none.
    pub address: u8,
    /// The chip's serial number, where it has one.
    pub serial: Text<64>,
    /// The correction between raw value and value, with its version; empty for none.
    pub correction: Text<64>,
    /// True for a model in software.
    pub simulated: bool,
}

/// A place on earth, WGS 84.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Degrees north times 10^7.
    pub latitude_e7: i32,
    /// Degrees east times 10^7.
    pub longitude_e7: i32,
    /// Metres above mean sea level.
    pub altitude_m: Option<i16>,
}

/// The last that the store knew of the node's previous run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// The epoch before this one.
    pub epoch: Epoch,
    /// The highest seq stored in it.
    pub last_seq: u64,
}

/// Every reading that was due at one sampling tick.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Readings {
    /// Seq, in the same epoch, of the announcement that describes the sensors.
    pub announcement: u64,
    /// The readings.
    #[serde(deserialize_with = "bounded::<_, _, MAX_READINGS>")]
    pub readings: Vec<Reading>,
}

/// One value of one sensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Position of the sensor in the announcement.
    pub sensor: u8,
    /// What was measured.
    pub quantity: Quantity,
    /// The corrected value in the quantity's unit; `None` exactly when the flag is missing.
    pub value: Option<f32>,
    /// The value before correction, where one was applied.
    pub raw: Option<f32>,
    /// How far to trust it.
    pub flag: Flag,
    /// Why the flag is not good.
    pub reason: Reason,
}

/// Dates the frames of one boot: wall time = `wall_at_zero_us` + uptime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockFix {
    /// The boot it dates.
    pub boot: BootId,
    /// Wall time at uptime 0, us since 1970.
    pub wall_at_zero_us: i64,
    /// The wall time may be off by this much either way, ms.
    pub uncertainty_ms: u32,
}

/// Something that happened to the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    pub code: EventCode,
    /// To which sensor, by its position in the announcement.
    pub sensor: Option<u8>,
    /// For people.
    pub detail: Text<128>,
}

impl Payload {
    /// The kind number that travels in the envelope.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Announcement(_) => Kind::ANNOUNCEMENT,
            Self::Readings(_) => Kind::READINGS,
            Self::ClockFix(_) => Kind::CLOCK_FIX,
            Self::Event(_) => Kind::EVENT,
            Self::Unknown(kind, _) => *kind,
        }
    }

    /// The bytes that the envelope carries. Public only so that `bench` can count what they cost.
    #[doc(hidden)]
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        match self {
            Self::Announcement(announcement) => postcard::to_stdvec(announcement),
            Self::Readings(readings) => postcard::to_stdvec(readings),
            Self::ClockFix(fix) => postcard::to_stdvec(fix),
            Self::Event(event) => postcard::to_stdvec(event),
            Self::Unknown(_, bytes) => Ok(bytes.to_vec()),
        }
    }

    pub(crate) fn decode(kind: Kind, bytes: &[u8]) -> Result<Self, &'static str> {
        match kind {
            Kind::ANNOUNCEMENT => exact(bytes).map(Self::Announcement),
            Kind::READINGS => exact(bytes).map(Self::Readings),
            Kind::CLOCK_FIX => exact(bytes).map(Self::ClockFix),
            Kind::EVENT => exact(bytes).map(Self::Event),
            _ => Ok(Self::Unknown(kind, bytes.into())),
        }
    }
}

/// Decodes all of `bytes`, and only the one encoding that `to_stdvec` gives: two encodings of one thing would be two frames to
/// a hash and one to a reader.
pub(crate) fn exact<'de, T: Deserialize<'de> + Serialize>(bytes: &'de [u8]) -> Result<T, &'static str> {
    let (value, rest) = postcard::take_from_bytes::<T>(bytes).map_err(|_| "malformed or beyond its limits")?;
    if !rest.is_empty() {
        return Err("trailing bytes");
    }
    match postcard::to_stdvec(&value) {
        Ok(canonical) if canonical == bytes => Ok(value),
        _ => Err("not in canonical form"),
    }
}

/// A sequence with a limit that is checked before anything is allocated.
fn bounded<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct Bounded<T, const MAX: usize>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Bounded<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX} elements")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<T>, A::Error> {
            // postcard states the length up front, and refuses to read past the end of its input.
            let length = sequence.size_hint().unwrap_or(0);
            if length > MAX {
                return Err(de::Error::invalid_length(length, &self));
            }
            let mut elements = Vec::with_capacity(length);
            while let Some(element) = sequence.next_element()? {
                elements.push(element);
            }
            Ok(elements)
        }
    }
    deserializer.deserialize_seq(Bounded::<T, MAX>(PhantomData))
}

// === Reading on the wire ===
//
// sensor, quantity, status, reason, then the value unless the flag is missing, then the raw value if the status says so.
// `status` is the flag in the low four bits and RAW; its other bits are zero.

const RAW: u8 = 0x10;
const FLAG_BITS: u8 = 0x0f;

impl Reading {
    fn check(&self) -> Result<(), &'static str> {
        if self.flag.0 > FLAG_BITS {
            return Err("a flag is greater than 15");
        }
        if self.value.is_none() != (self.flag == Flag::MISSING) {
            return Err("a value is absent exactly when its flag is missing");
        }
        if [self.value, self.raw].into_iter().flatten().any(|value| !value.is_finite()) {
            return Err("a value is not a finite number");
        }
        Ok(())
    }
}

impl Serialize for Reading {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.check().map_err(serde::ser::Error::custom)?;
        let mut fields = serializer.serialize_tuple(6)?;
        fields.serialize_element(&self.sensor)?;
        fields.serialize_element(&self.quantity)?;
        fields.serialize_element(&(self.flag.0 | if self.raw.is_some() { RAW } else { 0 }))?;
        fields.serialize_element(&self.reason)?;
        for value in [self.value, self.raw].into_iter().flatten() {
            fields.serialize_element(&value)?;
        }
        fields.end()
    }
}

impl<'de> Deserialize<'de> for Reading {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Reading;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a reading")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<Reading, A::Error> {
                fn field<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(fields: &mut A) -> Result<T, A::Error> {
                    fields.next_element()?.ok_or_else(|| de::Error::custom("a reading ends early"))
                }
                let sensor = field(&mut fields)?;
                let quantity = field(&mut fields)?;
                let status: u8 = field(&mut fields)?;
                let reason = field(&mut fields)?;
                if status & !(FLAG_BITS | RAW) != 0 {
                    return Err(de::Error::custom("reserved status bits are set"));
                }
                let flag = Flag(status & FLAG_BITS);
                let value = if flag == Flag::MISSING { None } else { Some(field(&mut fields)?) };
                let raw = if status & RAW == 0 { None } else { Some(field(&mut fields)?) };
                let reading = Reading { sensor, quantity, value, raw, flag, reason };
                reading.check().map_err(de::Error::custom)?;
                Ok(reading)
            }
        }
        deserializer.deserialize_tuple(6, Fields)
    }
}
