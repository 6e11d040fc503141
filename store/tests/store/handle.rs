//! The store behind its thread.

use std::time::{Duration, Instant};

use store::{Options, Store, StoreError, StoreHandle};

use crate::{Folder, Node};

fn spawn(folder: &Folder, sync_interval: Duration) -> StoreHandle {
    let options = Options { sync_interval, ..Options::default() };
    StoreHandle::spawn(Store::open(&folder.path(), options).unwrap()).unwrap()
}

#[tokio::test]
async fn the_handle_does_what_the_store_does() {
    let folder = Folder::new();
    let store = spawn(&folder, Duration::from_secs(60));
    let mut node = Node::new(1, 1);
    let (key, epoch) = (node.author.node(), node.author.epoch());
    let frames = node.frames(20);
    assert_eq!(store.append(frames.clone()).await, Ok(20));
    assert_eq!(store.append(frames[..3].to_vec()).await, Ok(0));
    assert_eq!(store.last_seq(key, epoch).await, Ok(20));
    assert_eq!(store.next_seq(key, epoch).await, Ok(21));
    assert_eq!(store.nodes().await, Ok(vec![key]));
    assert_eq!(store.latest_epoch(key).await, Ok(Some((epoch, 20))));
    assert_eq!(store.epochs(key).await.unwrap()[0].frames, 20);
    assert_eq!(store.get(node.id(7)).await.unwrap().as_ref(), Some(&frames[6]));
    assert_eq!(store.range(key, epoch, 2..=4, usize::MAX).await.unwrap().frames, frames[1..4]);
    assert_eq!(store.first_at_or_after(key, 0).await, Ok(Some(node.id(1))));
    let stats = store.stats();
    assert_eq!((stats.frames, stats.appended, stats.unsynced), (20, 20, 20));
    assert!(stats.bytes_on_disk > 4000 && stats.last_error.is_none());
    store.sync().await.unwrap();
    assert_eq!(store.stats().unsynced, 0);

    let other = store.clone();
    store.close().await.unwrap();
    assert_eq!(other.append(frames).await, Err(StoreError::Stopped));
    assert_eq!(other.nodes().await, Err(StoreError::Stopped));
    assert_eq!(folder.open().frames(), 20);
}

#[tokio::test]
async fn appends_of_many_are_all_answered() {
    let folder = Folder::new();
    let store = spawn(&folder, Duration::from_secs(60));
    let tasks: Vec<_> = (0..20)
        .map(|key| {
            let store = store.clone();
            tokio::spawn(async move {
                for frame in Node::new(key, 1).frames(30) {
                    assert_eq!(store.append(vec![frame]).await, Ok(1));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(store.stats().frames, 600);
}

#[tokio::test]
async fn it_syncs_by_itself_when_the_interval_has_passed() {
    let folder = Folder::new();
    let store = spawn(&folder, Duration::from_millis(20));
    store.append(Node::new(1, 1).frames(3)).await.unwrap();
    let appended = Instant::now();
    while store.stats().unsynced > 0 {
        assert!(appended.elapsed() < Duration::from_secs(20), "not synced");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(store.stats().last_sync_age(Instant::now()).unwrap() < Duration::from_secs(20));
}

#[tokio::test]
async fn it_lets_go_of_the_file_when_the_last_handle_is_gone() {
    let folder = Folder::new();
    let store = spawn(&folder, Duration::from_secs(60));
    store.append(Node::new(1, 1).frames(3)).await.unwrap();
    drop(store);
    // The second owner waits a second for the first to let go.
    assert_eq!(folder.open().frames(), 3);
}
