//! A node that finds one of its files broken when it starts: after a power cut, on a card that dies, after somebody's slip.

use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use node::{KeyError, StartError};
use tracing::field::Field;
use tracing::{Event, Metadata, Subscriber, span};

use crate::support::{ANY, Running, Site, free_address};

/// What may be found in place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Empty,
    Zeros,
    Garbage,
    Folder,
}

const ALL: [Found; 4] = [Found::Empty, Found::Zeros, Found::Garbage, Found::Folder];

impl Found {
    fn put_at(self, path: &Path) {
        if path.exists() {
            fs::remove_file(path).unwrap();
        }
        match self {
            Self::Empty => fs::write(path, []).unwrap(),
            Self::Zeros => fs::write(path, [0; 8192]).unwrap(),
            Self::Garbage => fs::write(path, [0xa5, 0x3c, b'\n'].repeat(3000)).unwrap(),
            Self::Folder => return fs::create_dir(path).unwrap(),
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn is_at(self, path: &Path) -> bool {
        match self {
            Self::Empty => fs::read(path).is_ok_and(|bytes| bytes.is_empty()),
            Self::Zeros => fs::read(path).is_ok_and(|bytes| bytes == [0; 8192]),
            Self::Garbage => fs::read(path).is_ok_and(|bytes| bytes.starts_with(&[0xa5, 0x3c])),
            Self::Folder => path.is_dir(),
        }
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = self.0.lock().unwrap();
        event.record(&mut |field: &Field, value: &dyn Debug| text.push_str(&format!("{field}={value:?} ")));
        text.push('\n');
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// A node that has run before, in which `file` is broken now.
async fn with(file: &str, found: Found) -> Site {
    let site = Site::new("post");
    let before = start(&site).await.unwrap();
    before.keeps(5).await;
    before.stop().await;
    found.put_at(&site.state().join(file));
    site
}

async fn start(site: &Site) -> Result<Running, StartError> {
    site.try_to_start(ANY, &[free_address()]).await
}

#[tokio::test]
async fn a_node_whose_highest_message_number_is_lost_goes_on() {
    for found in ALL {
        let site = with("seqno-floor", found).await;
        let node = start(&site).await.unwrap();
        node.answers(200, "").await;
        node.stop().await;
        let state = site.state();
        assert!(found.is_at(&state.join("seqno-floor.damaged")), "{found:?}");
        let text = fs::read_to_string(state.join("seqno-floor")).unwrap();
        assert!(text.trim().parse::<u64>().is_ok(), "{found:?} became {text:?}");
    }
}

#[tokio::test]
async fn a_node_whose_key_is_broken_does_not_become_another_one() {
    for found in ALL {
        let site = with("node.key", found).await;
        match start(&site).await {
            Err(StartError::Key(error @ KeyError::Foreign { .. })) => {
                assert!(error.to_string().contains("Put the right file back"), "{error}");
            }
            other => panic!("{found:?}: {:?}", other.map(|node| node.id())),
        }
        assert!(found.is_at(&site.state().join("node.key")), "{found:?} is left for whoever looks into it");
    }
}

#[tokio::test]
async fn a_node_that_finds_something_else_than_its_store_begins_a_new_one_or_says_that_it_keeps_nothing() {
    for found in ALL {
        let site = with("frames.db", found).await;
        let store = site.state().join("frames.db");
        let log = Log::default();
        let listening = tracing::subscriber::set_default(log.clone());
        let node = start(&site).await.unwrap();
        drop(listening);
        let what_to_do = format!("mv '{0}' '{0}.old'", store.display());
        match found {
            // An empty file is a new store, and a card that lost what was in it gives zeros.
            Found::Empty | Found::Zeros => {
                node.keeps(5).await;
                node.answers(200, "").await;
            }
            // Anything else may be somebody's.
            Found::Garbage | Found::Folder => {
                node.answers(503, "readings go out live and are not kept").await;
                node.answers(503, &what_to_do).await;
                assert!(log.text().contains(&what_to_do), "{}", log.text());
                assert!(found.is_at(&store), "{found:?}");
            }
        }
        node.stop().await;
    }
}

#[tokio::test]
async fn a_node_that_lost_what_its_chips_had_learned_lets_them_learn_anew() {
    for found in ALL {
        let site = with("sensors.json", found).await;
        let node = start(&site).await.unwrap();
        node.keeps(5).await;
        node.answers(200, "").await;
        node.stop().await;
        let file = site.state().join("sensors.json");
        assert!(!found.is_at(&file), "{found:?} is still there");
        assert!(found.is_at(&file.with_extension("json.damaged")), "{found:?}");
    }
}
