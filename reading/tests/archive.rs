//! The golden `.magpie` file: stored files look like this one.
//!
//! If a test here fails, do not change the test. `tests/wire/check.py` reads the same file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic in its helpers too")]

use reading::{ArchiveReader, ArchiveWriter, Frame};

/// The golden frames of every kind, one run of one node.
const GOLDEN: &[u8] = include_bytes!("golden/frames.magpie");

#[test]
fn version_1_is_written_and_read_as_it_always_was() {
    let mut reader = ArchiveReader::begin(GOLDEN).unwrap();
    let mut writer = ArchiveWriter::begin(Vec::new()).unwrap();
    let mut seqs = Vec::new();
    while let Some(bytes) = reader.next_frame().unwrap() {
        let frame = Frame::verify(bytes).unwrap();
        seqs.push(frame.seq());
        writer.write(&frame).unwrap();
    }
    assert_eq!(seqs, [1, 2, 3, 4, 5]);
    assert!(writer.end().unwrap() == GOLDEN, "the file is written differently now");
}
