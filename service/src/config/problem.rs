//! What is wrong with a configuration, and where.

use std::fmt;

/// Everything that is wrong with a configuration. Shown one problem a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written; `None` for what was not written anywhere.
    pub place: Option<Place>,
    /// The key, e.g. `mesh.listen`; empty where there is none.
    pub key: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    File {
        /// The file's path.
        path: String,
        /// Line and column, both from 1.
        position: Option<(usize, usize)>,
    },
    /// In a variable of the environment.
    Variable(String),
    /// On the command line.
    Flag(String),
}

impl Problems {
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        Self(problems)
    }

    /// The problems, in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, position: None } => f.write_str(path),
            Self::File { path, position: Some((line, column)) } => write!(f, "{path}:{line}:{column}"),
            Self::Variable(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// What serde says, in words for people; an unknown key comes with the nearest that is known.
pub(super) fn in_words(message: &str) -> String {
    if let Some((unknown, known)) = unknown_key(message) {
        let unknown_text = unknown.to_lowercase();
        let nearest = known.iter().map(|key| (distance(&unknown_text, key), key)).min();
        return match nearest {
            None => "unknown key; this table has none".to_owned(),
            Some((distance, key)) if distance <= 2.max(unknown.len() / 3) => {
                format!("unknown key; did you mean `{key}`?")
            }
            Some(_) => format!("unknown key; there is {}", known.join(", ")),
        };
    }
    if let Some(key) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return format!("`{key}` is missing");
    }
    if let Some(key) = message.strip_prefix("duplicate field `").and_then(|rest| rest.strip_suffix('`')) {
        return format!("`{key}` is set twice");
    }
    message.trim_end().replace('\n', " ")
}

/// The key, and those that are known, of serde's message "unknown field `a`, expected one of `b`, `c`".
fn unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let (unknown, rest) = message.strip_prefix("unknown field `")?.split_once('`')?;
    Some((unknown, rest.split('`').skip(1).step_by(2).collect()))
}

/// Edits between two keys: insertions, deletions, replacements, each 1.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_suggested() {
        let message = "unknown field `lisen`, expected one of `listen`, `connect`, `mdns`";
        assert_eq!(in_words(message), "unknown key; did you mean `listen`?");
        assert_eq!(
            in_words("unknown field `x`, expected `listen` or `connect`"),
            "unknown key; there is listen, connect"
        );
        assert_eq!(in_words("unknown field `x`, there are no fields"), "unknown key; this table has none");
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "ab"), 2);
    }
}
