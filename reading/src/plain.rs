//! Plain lines: one unsigned JSON object a quantity, for subscribers that know nothing of Magpie.

use serde::{Deserialize, Serialize};

use crate::{Place, Quantity, rfc3339};

/// A line on a plain topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlainLine {
    /// The node's name.
    pub node: String,
    /// Its city.
    pub city: String,
    /// Its area.
    pub area: String,
    /// What was measured.
    pub quantity: String,
    /// The value in `unit`.
    pub value: f64,
    /// As in SenML.
    pub unit: String,
    /// RFC 3339, or null while the node does not know the time.
    pub time: Option<String>,
}

impl PlainLine {
    /// The line of one value. `time_us` is `None` while the node does not know the time.
    pub fn new(place: &Place, quantity: Quantity, value: f32, time_us: Option<i64>) -> Self {
        Self {
            node: place.node.to_string(),
            city: place.city.to_string(),
            area: place.area.to_string(),
            quantity: quantity.to_string(),
            value: shortest(value),
            unit: quantity.unit().to_owned(),
            time: time_us.and_then(rfc3339),
        }
    }

    /// The line as it is published: JSON and a newline, since `ipfs pubsub sub` prints messages with nothing between them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

/// What a message on a plain topic says. Nobody signed it.
#[derive(Clone, Debug, PartialEq)]
pub enum PlainMessage {
    /// One of our lines.
    Line(PlainLine),
    /// A bare number: what the 2019 test bed published.
    Number(f64),
}

impl PlainMessage {
    /// Reads a message; `None` where it is neither.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.trim();
        match text.parse::<f64>() {
            Ok(value) => value.is_finite().then_some(Self::Number(value)),
            Err(_) => serde_json::from_str(text).ok().map(Self::Line),
        }
    }
}

/// The f64 whose shortest decimal is the shortest decimal of the f32: 21.4, not 21.399999618530273.
pub fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Label;

    #[test]
    fn a_plain_line_is_one_line_of_json_and_reads_back() {
        let label = |text| Label::new(text).unwrap();
        let place = Place { city: label("seoul"), area: label("seongbuk"), node: label("roof-3") };
        let line = PlainLine::new(&place, Quantity::TEMPERATURE, 21.4, Some(1_764_000_000_123_456));
        let bytes = line.to_bytes();
        assert_eq!(
            std::str::from_utf8(&bytes).unwrap(),
            "{\"node\":\"roof-3\",\"city\":\"seoul\",\"area\":\"seongbuk\",\"quantity\":\"temperature\",\"value\":21.4,\"unit\":\"Cel\",\"time\":\"2025-11-24T16:00:00.123Z\"}\n"
        );
        assert_eq!(PlainMessage::parse(&bytes), Some(PlainMessage::Line(line)));
    }

    #[test]
    fn a_bare_number_is_a_value_and_rubbish_is_nothing() {
        assert_eq!(PlainMessage::parse(b"23.5\n"), Some(PlainMessage::Number(23.5)));
        assert_eq!(PlainMessage::parse(b"NaN"), None);
        assert_eq!(PlainMessage::parse(b"hello"), None);
        assert_eq!(PlainMessage::parse(&[0xff, 0xfe]), None);
    }
}
