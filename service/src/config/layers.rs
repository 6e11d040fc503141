//! The values of file, environment and flags in one tree, where each knows where it was written.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use serde_path_to_error::Segment;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::PREFIX;
use super::problem::{Place, Problem, in_words};

/// A configuration file larger than this is not one.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The merged tree, and the keys that were taken out of it.
#[derive(Default)]
pub(super) struct Layers {
    root: Entry,
    /// Full paths of the values that were wrong: that they are now missing is no further problem.
    taken_out: BTreeSet<Vec<String>>,
}

/// What [`Layers::take_out`] did.
pub(super) enum Taken {
    /// A value went; read the rest.
    Out(Option<Problem>),
    /// A variable that looked like TOML is text from now on; read it again.
    AsText,
    /// Nothing can be taken out to go on.
    Nothing(Option<Problem>),
}

#[derive(Default)]
struct Entry {
    node: Node,
    place: Option<Place>,
    /// A variable's text, as long as its value came from reading it as TOML.
    text: Option<String>,
    /// What was wrong with the value before the variable's text was taken instead.
    first_problem: Option<String>,
}

enum Node {
    Table(BTreeMap<String, Entry>),
    /// Elements by the position that they were written at: one that is taken out renames no other.
    Array(BTreeMap<usize, Entry>),
    Leaf(toml::Value),
}

impl Default for Node {
    fn default() -> Self {
        Self::Table(BTreeMap::new())
    }
}

impl Layers {
    pub(super) fn file(&mut self, path: &Path, problems: &mut Vec<Problem>) {
        let shown = path.display().to_string();
        let whole = Place::File { path: shown.clone(), position: None };
        let mut refused = |message| problems.push(Problem { place: Some(whole.clone()), key: String::new(), message });
        let text = match read_bounded(path) {
            Ok(text) => text,
            Err(message) => return refused(message),
        };
        let file = FileText { path: &shown, text: &text };
        let (table, errors) = DeTable::parse_recoverable(&text);
        for error in errors {
            let place = error.span().map_or(whole.clone(), |span| file.place(&span));
            let message = error.message().trim_end().replace('\n', " ");
            problems.push(Problem { place: Some(place), key: String::new(), message });
        }
        self.root = Entry { node: file.table(table.into_inner()), ..Entry::default() };
    }

    pub(super) fn variable(&mut self, name: &str, text: String, problems: &mut Vec<Problem>) {
        let place = Place::Variable(name.to_owned());
        let key = name.strip_prefix(PREFIX).unwrap_or(name).to_lowercase();
        let path: Vec<String> = key.split("__").map(str::to_owned).collect();
        let (value, text) = match as_toml(&text) {
            Some(value) => (value, Some(text)),
            None => (toml::Value::String(text), None),
        };
        let entry = Entry { text, ..Entry::new(value, &place) };
        self.put(&path, entry, place, problems);
    }

    pub(super) fn flag(&mut self, path: &[String], flag: &str, value: toml::Value, problems: &mut Vec<Problem>) {
        let place = Place::Flag(flag.to_owned());
        self.put(path, Entry::new(value, &place), place, problems);
    }

    fn put(&mut self, path: &[String], entry: Entry, place: Place, problems: &mut Vec<Problem>) {
        let mut refused = |message: &str| {
            problems.push(Problem { place: Some(place.clone()), key: path.join("."), message: message.to_owned() });
        };
        if path.iter().any(String::is_empty) {
            return refused("no key is named like this");
        }
        let mut target = &mut self.root;
        for key in path {
            // A value that is no table, where a table is wanted, is replaced like any other value.
            if !matches!(target.node, Node::Table(_)) {
                target.node = Node::default();
                target.place = Some(place.clone());
            }
            let Node::Table(table) = &mut target.node else { return };
            target =
                table.entry(key.clone()).or_insert_with(|| Entry { place: Some(place.clone()), ..Entry::default() });
        }
        target.merge(entry);
    }

    /// All that is left.
    pub(super) fn value(&self) -> toml::Value {
        self.root.value()
    }

    /// Takes out the value that `message` complains of.
    pub(super) fn take_out(&mut self, path: &serde_path_to_error::Path, message: &str) -> Taken {
        let (keys, depth) = self.root.keys(path);
        let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        if let Some(missing) = missing {
            let full: Vec<String> = keys.iter().cloned().chain([missing.to_owned()]).collect();
            if self.taken_out.contains(&full) {
                // It is missing because it was wrong, and that has been said. Its table goes too.
                return self.remove(&keys[..depth]).map_or(Taken::Nothing(None), |_| Taken::Out(None));
            }
        }
        let found = &keys[..depth];
        if let Some(entry) = self.root.get_mut(found)
            && let Some(text) = entry.text.take()
            && !matches!(entry.node, Node::Table(_))
        {
            entry.node = Node::Leaf(toml::Value::String(text));
            entry.first_problem = Some(message.to_owned());
            return Taken::AsText;
        }
        let key = shown(&self.root, found);
        match self.remove(found) {
            Some(entry) => {
                let message = in_words(entry.first_problem.as_deref().unwrap_or(message));
                Taken::Out(Some(Problem { place: entry.place, key, message }))
            }
            None => Taken::Nothing(Some(Problem { place: None, key, message: in_words(message) })),
        }
    }

    fn remove(&mut self, path: &[String]) -> Option<Entry> {
        let (last, parents) = path.split_last()?;
        let removed = match &mut self.root.get_mut(parents)?.node {
            Node::Table(table) => table.remove(last),
            Node::Array(array) => array.remove(&last.parse().ok()?),
            Node::Leaf(_) => None,
        }?;
        self.taken_out.insert(path.to_vec());
        Some(removed)
    }
}

impl Entry {
    fn new(value: toml::Value, place: &Place) -> Self {
        let node = match value {
            toml::Value::Table(table) => {
                Node::Table(table.into_iter().map(|(key, value)| (key, Self::new(value, place))).collect())
            }
            toml::Value::Array(array) => {
                Node::Array(array.into_iter().map(|value| Self::new(value, place)).enumerate().collect())
            }
            value => Node::Leaf(value),
        };
        Self { node, place: Some(place.clone()), ..Self::default() }
    }

    fn merge(&mut self, over: Self) {
        match (&mut self.node, over.node) {
            (Node::Table(table), Node::Table(over)) => {
                for (key, entry) in over {
                    match table.get_mut(&key) {
                        Some(known) => known.merge(entry),
                        None => {
                            table.insert(key, entry);
                        }
                    }
                }
            }
            (_, node) => *self = Self { node, ..over },
        }
    }

    fn value(&self) -> toml::Value {
        match &self.node {
            Node::Table(table) => {
                toml::Value::Table(table.iter().map(|(key, entry)| (key.clone(), entry.value())).collect())
            }
            Node::Array(array) => toml::Value::Array(array.values().map(Self::value).collect()),
            Node::Leaf(value) => value.clone(),
        }
    }

    fn child(&self, key: &str) -> Option<&Self> {
        match &self.node {
            Node::Table(table) => table.get(key),
            Node::Array(array) => array.get(&key.parse().ok()?),
            Node::Leaf(_) => None,
        }
    }

    fn get_mut(&mut self, path: &[String]) -> Option<&mut Self> {
        path.iter().try_fold(self, |entry, key| match &mut entry.node {
            Node::Table(table) => table.get_mut(key),
            Node::Array(array) => array.get_mut(&key.parse().ok()?),
            Node::Leaf(_) => None,
        })
    }

    /// The keys that lead to what serde complains of, and how many of them there are in the tree. The variants of an enum, for one,
    /// are not: the value that holds them is.
    fn keys(&self, path: &serde_path_to_error::Path) -> (Vec<String>, usize) {
        let (mut keys, mut depth) = (Vec::new(), 0);
        let mut entry = Some(self);
        for segment in path.iter() {
            let key = match (segment, entry.map(|entry| &entry.node)) {
                (Segment::Map { key }, _) => key.clone(),
                // serde counts the elements that are left.
                (Segment::Seq { index }, Some(Node::Array(array))) => {
                    array.keys().nth(*index).unwrap_or(index).to_string()
                }
                (Segment::Seq { index }, _) => index.to_string(),
                (Segment::Enum { variant }, _) => variant.clone(),
                (Segment::Unknown, _) => break,
            };
            entry = entry.and_then(|entry| entry.child(&key));
            depth += usize::from(entry.is_some());
            keys.push(key);
        }
        (keys, depth)
    }
}

/// A path as people write it: `publish.plain[2].name`.
fn shown(root: &Entry, path: &[String]) -> String {
    let mut text = String::new();
    let mut entry = Some(root);
    for key in path {
        let array = entry.is_some_and(|entry| matches!(entry.node, Node::Array(_)));
        match (array, text.is_empty()) {
            (true, _) => text += &format!("[{key}]"),
            (false, true) => text += key,
            (false, false) => text += &format!(".{key}"),
        }
        entry = entry.and_then(|entry| entry.child(key));
    }
    text
}

fn read_bounded(path: &Path) -> Result<String, String> {
    let read = || {
        let metadata = std::fs::metadata(path)?;
        if metadata.len() > MAX_FILE_BYTES {
            return Err(std::io::Error::other(format!("larger than {MAX_FILE_BYTES} bytes: this is no configuration")));
        }
        std::fs::read_to_string(path)
    };
    read().map_err(|error| format!("cannot be read: {error}"))
}

/// The value, where `text` is one TOML value and no more.
fn as_toml(text: &str) -> Option<toml::Value> {
    let mut table: toml::Table = format!("value = {text}").parse().ok()?;
    if table.len() > 1 {
        return None;
    }
    table.remove("value")
}

// === A file's values ===

struct FileText<'a> {
    path: &'a str,
    text: &'a str,
}

impl FileText<'_> {
    fn table(&self, table: DeTable<'_>) -> Node {
        Node::Table(
            table
                .into_iter()
                .map(|(key, value)| {
                    let place = self.place(&key.span());
                    (key.into_inner().into_owned(), self.entry(value, place))
                })
                .collect(),
        )
    }

    /// A key's value, whose place is the key's: that is where a person looks.
    fn entry(&self, value: Spanned<DeValue<'_>>, place: Place) -> Entry {
        let node = match value.into_inner() {
            DeValue::Table(table) => self.table(table),
            DeValue::Array(array) => Node::Array(
                array
                    .into_iter()
                    .map(|value| {
                        let place = self.place(&value.span());
                        self.entry(value, place)
                    })
                    .enumerate()
                    .collect(),
            ),
            leaf => Node::Leaf(self.leaf(leaf)),
        };
        Entry { node, place: Some(place), ..Entry::default() }
    }

    fn leaf(&self, value: DeValue<'_>) -> toml::Value {
        let fallback = |text: &str| toml::Value::String(text.to_owned());
        match value {
            DeValue::String(text) => toml::Value::String(text.into_owned()),
            DeValue::Boolean(value) => toml::Value::Boolean(value),
            DeValue::Datetime(value) => toml::Value::Datetime(value),
            // A number beyond 64 bits becomes text, which no number's type accepts.
            DeValue::Integer(value) => i64::from_str_radix(value.as_str(), value.radix())
                .map_or_else(|_| fallback(value.as_str()), toml::Value::Integer),
            DeValue::Float(value) => {
                value.as_str().parse().map_or_else(|_| fallback(value.as_str()), toml::Value::Float)
            }
            DeValue::Array(_) | DeValue::Table(_) => fallback(""),
        }
    }

    fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Place::File { path: self.path.to_owned(), position: Some((line, column)) }
    }
}
