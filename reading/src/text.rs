//! Short printable text with a limit, for what people read and machines only keep.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// Up to `MAX` bytes of UTF-8 without control characters, so that nothing a peer sends can drive a terminal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct Text<const MAX: usize>(String);

/// Why a text was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Longer than the field allows.
    #[error("text of {length} bytes is longer than {max}")]
    TooLong {
        /// Bytes given.
        length: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Has a control character.
    #[error("text contains a control character")]
    Control,
}

impl<const MAX: usize> Text<MAX> {
    /// Checks and keeps a text.
    pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        check(&text, MAX)?;
        Ok(Self(text))
    }

    /// Keeps as much of `text` as fits, with control characters replaced: for texts that a chip or the system gives.
    pub fn lossy(text: &str) -> Self {
        let mut kept = String::new();
        for character in text.chars() {
            let character = if character.is_control() { '\u{fffd}' } else { character };
            if kept.len() + character.len_utf8() > MAX {
                break;
            }
            kept.push(character);
        }
        Self(kept)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(text: &str, max: usize) -> Result<(), TextError> {
    if text.len() > max {
        return Err(TextError::TooLong { length: text.len(), max });
    }
    if text.chars().any(char::is_control) {
        return Err(TextError::Control);
    }
    Ok(())
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Borrowed first: the check runs before anything is allocated.
        let text = <&str>::deserialize(deserializer)?;
        check(text, MAX).map_err(serde::de::Error::custom)?;
        Ok(Self(text.to_owned()))
    }
}
