//! Topic names, and which topics to join.
//!
//! `magpie/1/<city>` carries announcements and the authority's messages, `magpie/1/<city>/<area>` everything else of that area. Few topics,
//! ever: a peer drops every message of one who follows more than 100, with nothing but a line in its own log.

use std::collections::BTreeSet;
use std::fmt;

use reading::{Label, Selector};

use crate::error::Error;

/// Topics that one mesh joins, plain ones included. Areas beyond are not heard, and
/// [`MeshEvent::AreasLeftOut`](crate::MeshEvent::AreasLeftOut) says so. Well under the 100 at which peers stop listening to us.
pub const MAX_TOPICS: usize = 64;
/// The longest plain topic in bytes.
const MAX_PLAIN_BYTES: usize = 128;
const PREFIX: &str = "magpie/1/";

/// A topic that carries frames.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Topic {
    City(Label),
    Area(Label, Label),
}

impl Topic {
    /// Reads a topic's name; `None` for any other topic.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let mut levels = name.strip_prefix(PREFIX)?.split('/');
        let city = Label::new(levels.next()?).ok()?;
        match (levels.next(), levels.next()) {
            (None, _) => Some(Self::City(city)),
            (Some(area), None) => Some(Self::Area(city, Label::new(area).ok()?)),
            _ => None,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::City(city) => write!(f, "{PREFIX}{city}"),
            Self::Area(city, area) => write!(f, "{PREFIX}{city}/{area}"),
        }
    }
}

/// The frame topics to be in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) topics: BTreeSet<Topic>,
    /// Topics that are wanted, but would be too many.
    pub(crate) left_out: usize,
}

/// Which topics to be in: the own place first, then what the selectors name, then what they match of the `known` areas, as long as there
/// is `room`. Of these, the ones that are `joined` come before new ones, so that nobody can crowd an area out by inventing others.
pub(crate) fn wanted<'a>(
    member: Option<&(Label, Label)>,
    interest: &[Selector],
    joined: &BTreeSet<Topic>,
    known: impl IntoIterator<Item = (&'a Label, &'a Label)>,
    room: usize,
) -> Wanted {
    let mut topics = BTreeSet::new();
    let mut left_out = BTreeSet::new();
    let mut join = |topic: Topic| {
        if topics.len() < room || topics.contains(&topic) {
            topics.insert(topic);
        } else {
            left_out.insert(topic);
        }
    };
    if let Some((city, area)) = member {
        join(Topic::City(city.clone()));
        join(Topic::Area(city.clone(), area.clone()));
    }
    for selector in interest {
        if let (Some(city), area) = selector.named_area() {
            join(Topic::City(city.clone()));
            if let Some(area) = area {
                join(Topic::Area(city.clone(), area.clone()));
            }
        }
    }
    let mut matched = BTreeSet::new();
    for (city, area) in known {
        if interest.iter().any(|selector| selector.matches_city(city)) {
            matched.insert(Topic::City(city.clone()));
        }
        if interest.iter().any(|selector| selector.matches_area(city, area)) {
            matched.insert(Topic::Area(city.clone(), area.clone()));
        }
    }
    let (kept, new): (Vec<Topic>, Vec<Topic>) = matched.into_iter().partition(|topic| joined.contains(topic));
    kept.into_iter().chain(new).for_each(join);
    Wanted { topics, left_out: left_out.len() }
}

/// Whether a peer's topic is worth remembering.
pub(crate) fn is_sane(topic: &str) -> bool {
    Topic::parse(topic).is_some() || (!topic.is_empty() && topic.len() <= MAX_PLAIN_BYTES)
}

/// Whether a topic may carry plain lines.
pub(crate) fn check_plain(topic: &str) -> Result<(), Error> {
    let refused = |problem| Err(Error::PlainTopic { topic: topic.chars().take(MAX_PLAIN_BYTES).collect(), problem });
    if topic.is_empty() || topic.len() > MAX_PLAIN_BYTES {
        return refused("must have 1 to 128 bytes");
    }
    if topic.starts_with("magpie/") {
        return refused("may not begin with magpie/, where frames travel");
    }
    if topic.chars().any(char::is_control) {
        return refused("has a control character");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &str) -> Label {
        Label::new(text).unwrap()
    }

    fn names(wanted: &Wanted) -> Vec<String> {
        wanted.topics.iter().map(Topic::to_string).collect()
    }

    #[test]
    fn a_topic_reads_as_it_is_written() {
        for name in ["magpie/1/seoul", "magpie/1/seoul/seongbuk"] {
            assert_eq!(Topic::parse(name).unwrap().to_string(), name);
        }
        for name in
            ["temperature", "magpie/2/seoul", "magpie/1/", "magpie/1/seoul/", "magpie/1/Seoul", "magpie/1/a/b/c"]
        {
            assert_eq!(Topic::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_bare_quantity_joins_every_area_as_it_becomes_known() {
        let interest = ["temperature".parse().unwrap()];
        assert_eq!(wanted(None, &interest, &BTreeSet::new(), [], 64), Wanted::default());
        let (seoul, busan, jung, nam) = (label("seoul"), label("busan"), label("jung"), label("nam"));
        let known = wanted(None, &interest, &BTreeSet::new(), [(&seoul, &jung), (&busan, &nam), (&busan, &jung)], 64);
        assert_eq!(
            names(&known),
            ["magpie/1/busan", "magpie/1/seoul", "magpie/1/busan/jung", "magpie/1/busan/nam", "magpie/1/seoul/jung"]
        );
    }

    #[test]
    fn a_named_place_is_joined_before_anybody_was_heard() {
        let interest = ["seoul/jung/+/temperature".parse().unwrap(), "busan/#".parse().unwrap()];
        let (seoul, nam) = (label("seoul"), label("nam"));
        let wanted = wanted(None, &interest, &BTreeSet::new(), [(&seoul, &nam)], 64);
        assert_eq!(names(&wanted), ["magpie/1/busan", "magpie/1/seoul", "magpie/1/seoul/jung"]);
    }

    #[test]
    fn too_many_areas_leave_the_own_place_and_the_named_ones() {
        let areas: Vec<Label> = (0..100).map(|number| label(&format!("a{number}"))).collect();
        let seoul = label("seoul");
        let member = (seoul.clone(), label("zz"));
        let interest = ["+".parse().unwrap(), "seoul/zy/#".parse().unwrap()];
        let joined = BTreeSet::from([Topic::Area(seoul.clone(), label("a99"))]);
        let wanted = wanted(Some(&member), &interest, &joined, areas.iter().map(|area| (&seoul, area)), 64);
        assert_eq!((wanted.topics.len(), wanted.left_out), (64, 39));
        assert!(wanted.topics.contains(&Topic::Area(seoul.clone(), label("zz"))));
        assert!(wanted.topics.contains(&Topic::Area(seoul, label("zy"))));
        assert!(wanted.topics.is_superset(&joined), "what was joined stays");
    }

    #[test]
    fn plain_topics_keep_out_of_the_frames_way() {
        assert!(check_plain("temperature").is_ok());
        for topic in ["", "magpie/1/seoul", "a\nb"] {
            assert!(check_plain(topic).is_err(), "{topic:?}");
        }
    }
}
