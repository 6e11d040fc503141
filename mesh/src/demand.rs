//! Which announced nodes to connect to, so that every wanted area is heard.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use libp2p::PeerId;
use reading::{Announcement, Label, NodeId};

/// Followers of an area to be connected to: gossipsub's mesh is six.
const PER_AREA: usize = 6;
/// Even with many areas, one peer that goes away must not silence any.
const PER_AREA_MIN: usize = 2;
/// What all areas together may come to, or nearly.
const IN_ALL: usize = 48;
/// Candidates per area and round. The next round is a second later.
const AT_ONCE: usize = 3;

/// How many more followers each area needs.
pub(crate) fn shortage(followers: &HashMap<(Label, Label), usize>) -> HashMap<(Label, Label), usize> {
    let wanted = (IN_ALL / followers.len().max(1)).clamp(PER_AREA_MIN, PER_AREA);
    followers
        .iter()
        .filter(|(_, count)| **count < wanted)
        .map(|(area, count)| (area.clone(), (wanted - count).min(AT_ONCE)))
        .collect()
}

/// Candidates for each area that is short, best first. Everybody ranks the nodes differently, or all would dial the same.
pub(crate) fn candidates<'a>(
    own: PeerId,
    short: &HashMap<(Label, Label), usize>,
    nodes: impl IntoIterator<Item = (NodeId, &'a Announcement)>,
) -> HashMap<(Label, Label), Vec<(NodeId, &'a Announcement)>> {
    let mut by_area: HashMap<_, Vec<(NodeId, &Announcement)>> = HashMap::new();
    for (node, announcement) in nodes {
        let area = (announcement.place.city.clone(), announcement.place.area.clone());
        if short.contains_key(&area) && !announcement.addresses.is_empty() {
            by_area.entry(area).or_default().push((node, announcement));
        }
    }
    for nodes in by_area.values_mut() {
        nodes.sort_by_cached_key(|(node, _)| rank(own, *node));
    }
    by_area
}

fn rank(own: PeerId, node: NodeId) -> u64 {
    let mut hasher = DefaultHasher::new();
    (own.to_bytes(), node).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Node, label};
    use reading::Payload;

    fn area(name: &str) -> (Label, Label) {
        (label("seoul"), label(name))
    }

    #[test]
    fn few_areas_are_held_firmly_and_many_loosely() {
        let one = HashMap::from([(area("jung"), 1)]);
        assert_eq!(shortage(&one), HashMap::from([(area("jung"), 3)]));
        let many: HashMap<_, _> = (0..40).map(|number| (area(&format!("a{number}")), number)).collect();
        assert_eq!(shortage(&many), HashMap::from([(area("a0"), 2), (area("a1"), 1)]));
        assert!(shortage(&HashMap::new()).is_empty());
    }

    #[test]
    fn candidates_are_of_the_area_have_addresses_and_differ_between_peers() {
        let mut frames = Vec::new();
        for seed in 0..20 {
            let mut node = Node::new(seed, "seoul", if seed < 18 { "jung" } else { "mapo" });
            if seed != 5 {
                node.addresses = vec!["/ip4/127.0.0.1/tcp/4710".to_owned()];
            }
            frames.push(node.announcement());
        }
        let decoded: Vec<_> = frames
            .iter()
            .map(|frame| match frame.payload().unwrap() {
                Payload::Announcement(announcement) => (frame.node(), announcement),
                _ => unreachable!(),
            })
            .collect();
        let nodes = || decoded.iter().map(|(node, announcement)| (*node, announcement));
        let short = HashMap::from([(area("jung"), 3)]);
        let order = |own| -> Vec<NodeId> {
            let of_area = candidates(own, &short, nodes()).remove(&area("jung")).unwrap();
            of_area.into_iter().map(|(node, _)| node).collect()
        };
        let (one, two) = (order(PeerId::random()), order(PeerId::random()));
        assert_eq!(one.len(), 17);
        assert_ne!(one, two);
    }
}
