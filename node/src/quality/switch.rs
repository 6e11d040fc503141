//! Settings that are either `false` or what switches them on.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

const WANTED: &str = "write false to switch the test off, or what it is to test";

/// `false` is `Some(None)`, a table is `Some(Some(_))`.
pub(super) fn switch<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    struct Switch<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Switch<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("false or a table")
        }

        fn visit_bool<E: Error>(self, on: bool) -> Result<Option<T>, E> {
            if on { Err(E::custom(WANTED)) } else { Ok(None) }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }
    deserializer.deserialize_any(Switch(PhantomData)).map(Some)
}

/// The value of a key that is `false` or a number above 0.
pub(super) fn number_or_off<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<f64>, A::Error> {
    map.next_value_seed(NumberOrOff)
}

struct NumberOrOff;

impl<'de> DeserializeSeed<'de> for NumberOrOff {
    type Value = Option<f64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<f64>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for NumberOrOff {
    type Value = Option<f64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("false or a number")
    }

    fn visit_bool<E: Error>(self, on: bool) -> Result<Option<f64>, E> {
        if on { Err(E::custom(WANTED)) } else { Ok(None) }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Option<f64>, E> {
        self.visit_f64(number as f64)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Option<f64>, E> {
        if number.is_finite() && number > 0.0 {
            Ok(Some(number))
        } else {
            Err(E::custom("a number above 0 is wanted, or false to switch the test off"))
        }
    }
}
