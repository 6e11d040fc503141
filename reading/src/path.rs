//! Reading paths, `city/area/node/quantity`, and the selectors that match them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::Quantity;

/// One level of a reading path: 1 to 32 of `a-z`, `0-9`, `_`, `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Label(Box<str>);

/// Why a label was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is not a label: use 1 to 32 of a-z, 0-9, _ and -", .0.escape_default())]
pub struct LabelError(String);

impl Label {
    /// The longest label in bytes.
    pub const MAX_BYTES: usize = 32;

    /// Checks and keeps a label.
    pub fn new(text: &str) -> Result<Self, LabelError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
        if (1..=Self::MAX_BYTES).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(LabelError(text.chars().take(2 * Self::MAX_BYTES).collect()))
        }
    }

    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Label;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a label: 1 to 32 of a-z, 0-9, _ and -")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Label, E> {
                Label::new(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// Where a node says it is: the first three levels of its reading paths. A label, not an identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The city.
    pub city: Label,
    /// The area of the city: the unit by which traffic is shared out.
    pub area: Label,
    /// The node's name, unique in its area by its owner's care.
    pub node: Label,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.city, self.area, self.node)
    }
}

/// A pattern over reading paths, with MQTT's `+` (one level) and `#` (this level and all below, last only).
/// A single word is a quantity anywhere: `temperature` means `+/+/+/temperature`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    city: Option<Label>,
    area: Option<Label>,
    node: Option<Label>,
    quantity: Option<Quantity>,
}

/// Why a selector was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Not four levels and no `#` to stand for the rest.
    #[error("selector \"{0}\" has {1} levels; write city/area/node/quantity, + for any level, # for all the rest")]
    Levels(String, usize),
    /// `#` is followed by more.
    #[error("selector \"{0}\": # stands for all the rest and must come last")]
    RestNotLast(String),
    /// A level is no label.
    #[error("selector \"{0}\": {1}")]
    Label(String, #[source] LabelError),
    /// The last level is no quantity.
    #[error("selector \"{0}\": quantity {1}")]
    Quantity(String, #[source] crate::code::UnknownName),
}

impl Selector {
    /// Matches everything.
    pub const ALL: Self = Self { city: None, area: None, node: None, quantity: None };

    /// Whether a reading of `quantity` at `place` is meant.
    pub fn matches(&self, place: &Place, quantity: Quantity) -> bool {
        self.matches_place(place) && self.quantity.is_none_or(|wanted| wanted == quantity)
    }

    /// Whether any quantity at `place` may be meant.
    pub fn matches_place(&self, place: &Place) -> bool {
        self.matches_area(&place.city, &place.area) && self.node.as_ref().is_none_or(|wanted| *wanted == place.node)
    }

    /// Whether any node of an area may be meant.
    pub fn matches_area(&self, city: &Label, area: &Label) -> bool {
        self.matches_city(city) && self.area.as_ref().is_none_or(|wanted| wanted == area)
    }

    /// Whether any area of a city may be meant.
    pub fn matches_city(&self, city: &Label) -> bool {
        self.city.as_ref().is_none_or(|wanted| wanted == city)
    }

    /// The city and the area, where the selector names them: what can be joined before any announcement was heard.
    pub fn named_area(&self) -> (Option<&Label>, Option<&Label>) {
        (self.city.as_ref(), self.area.as_ref())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for level in [&self.city, &self.area, &self.node] {
            match level {
                Some(label) => write!(f, "{label}/")?,
                None => f.write_str("+/")?,
            }
        }
        match self.quantity {
            Some(quantity) => write!(f, "{quantity}"),
            None => f.write_str("+"),
        }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let quantity =
            |level: &str| level.parse().map(Some).map_err(|error| SelectorError::Quantity(text.to_owned(), error));
        let levels: Vec<&str> = text.split('/').collect();
        if let [level] = levels[..]
            && level != "#"
        {
            return Ok(Self { quantity: if level == "+" { None } else { quantity(level)? }, ..Self::ALL });
        }
        if levels.iter().rev().skip(1).any(|level| *level == "#") {
            return Err(SelectorError::RestNotLast(text.to_owned()));
        }
        let open_ended = levels.last() == Some(&"#");
        if levels.len() > 4 || (levels.len() < 4 && !open_ended) {
            return Err(SelectorError::Levels(text.to_owned(), levels.len()));
        }
        let label = |index: usize| match levels.get(index) {
            None | Some(&"+" | &"#") => Ok(None),
            Some(level) => Label::new(level).map(Some).map_err(|error| SelectorError::Label(text.to_owned(), error)),
        };
        Ok(Self {
            city: label(0)?,
            area: label(1)?,
            node: label(2)?,
            quantity: match levels.get(3) {
                None | Some(&"+" | &"#") => None,
                Some(level) => quantity(level)?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roof() -> Place {
        let label = |text| Label::new(text).unwrap();
        Place { city: label("seoul"), area: label("seongbuk"), node: label("roof-3") }
    }

    #[test]
    fn a_bare_quantity_is_wanted_from_everywhere() {
        let selector: Selector = "temperature".parse().unwrap();
        assert!(selector.matches(&roof(), Quantity::TEMPERATURE));
        assert!(!selector.matches(&roof(), Quantity::HUMIDITY));
        assert_eq!(selector.to_string(), "+/+/+/temperature");
    }

    #[test]
    fn wildcards_stand_for_one_level_or_for_the_rest() {
        for text in ["seoul/+/+/pm2_5", "+/seongbuk/#", "seoul/#", "#", "seoul/seongbuk/roof-3/#", "+/+/+/+", "+"] {
            assert!(text.parse::<Selector>().unwrap().matches(&roof(), Quantity::PM2_5), "{text}");
        }
        for text in ["busan/#", "seoul/seongbuk/roof-4/#", "+/+/+/pm10"] {
            assert!(!text.parse::<Selector>().unwrap().matches(&roof(), Quantity::PM2_5), "{text}");
        }
    }

    #[test]
    fn a_refused_selector_says_what_to_write() {
        for (text, says) in [
            ("seoul/temperature", "has 2 levels; write city/area/node/quantity"),
            ("#/temperature", "# stands for all the rest"),
            ("Seoul/+/+/temperature", "is not a label"),
            ("temprature", "use one of temperature"),
            ("a/b/c/temperature/e", "has 5 levels"),
        ] {
            let error = text.parse::<Selector>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
