//! The `.magpie` file: signed frames, one behind the other, as they were made. `docs/wire.md` is its specification.
//!
//! A file of any size is written and read with the memory of one frame. Nothing is opened here: whoever writes or reads brings the
//! stream.

use std::io::{self, BufReader, ErrorKind, Read, Write};

use crate::{Frame, MAX_FRAME_BYTES};

/// How every file begins. The zero byte keeps it from being taken for text.
const MAGIC: &[u8; 7] = b"magpie\0";
/// The only version that this build writes and reads.
const VERSION: u8 = 1;
/// Bytes of the longest varint: 64 bits, seven a byte.
const MAX_VARINT_BYTES: usize = 10;

/// Writes a file. One without [`end`](Self::end) is told from a whole one by its reader.
#[derive(Debug)]
pub struct ArchiveWriter<W> {
    out: W,
    frames: u64,
}

/// Reads a file, and checks that it is whole. Frames come as they are: whoever reads verifies them.
#[derive(Debug)]
pub struct ArchiveReader<R> {
    input: BufReader<R>,
    frame: Vec<u8>,
    frames: u64,
    ended: bool,
}

/// Why a file cannot be read, or be read further. The frames before it are as good as in a whole file.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It begins differently.
    #[error("this is no .magpie file")]
    Foreign,
    /// Another version.
    #[error("version {0} of .magpie files is not known here; a newer program may read it")]
    UnknownVersion(u8),
    /// The file ends before its end.
    #[error("the file is cut off behind its first {0} frames")]
    CutOff(u64),
    /// No frame is that long, or the length is not in its shortest form.
    #[error("behind the first {0} frames stands no length that a frame can have")]
    Length(u64),
    /// Frames were taken out or put in.
    #[error("the file says that it has {said} frames, and has {found}")]
    Count {
        /// By the end of the file.
        said: u64,
        /// As read.
        found: u64,
    },
    /// The file goes on behind its end.
    #[error("something stands behind the end of the file")]
    Trailing,
    /// The stream gives an error.
    #[error("the file cannot be read")]
    Read(#[source] io::Error),
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins a file.
    pub fn begin(mut out: W) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        out.write_all(&[VERSION])?;
        Ok(Self { out, frames: 0 })
    }

    /// Adds a frame. Those of one node belong together, and among them those of one run, by seq.
    pub fn write(&mut self, frame: &Frame) -> io::Result<()> {
        write_varint(&mut self.out, frame.bytes().len() as u64)?;
        self.out.write_all(frame.bytes())?;
        self.frames += 1;
        Ok(())
    }

    /// Ends the file, and gives the stream back.
    pub fn end(mut self) -> io::Result<W> {
        write_varint(&mut self.out, 0)?;
        write_varint(&mut self.out, self.frames)?;
        Ok(self.out)
    }
}

impl<R: Read> ArchiveReader<R> {
    /// Begins to read.
    pub fn begin(input: R) -> Result<Self, ArchiveError> {
        let mut input = BufReader::new(input);
        let mut magic = [0; MAGIC.len()];
        let read = fill(&mut input, &mut magic).map_err(ArchiveError::Read)?;
        if magic[..read] != MAGIC[..read] || read == 0 {
            return Err(ArchiveError::Foreign);
        }
        let mut version = [0];
        if fill(&mut input, &mut version).map_err(ArchiveError::Read)? == 0 {
            return Err(ArchiveError::CutOff(0));
        }
        match version {
            [VERSION] => Ok(Self { input, frame: Vec::new(), frames: 0, ended: false }),
            [version] => Err(ArchiveError::UnknownVersion(version)),
        }
    }

    /// The bytes of the next frame; `None` behind the last one, when the end was found to be right. After an error there is nothing more.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, ArchiveError> {
        if self.ended {
            return Ok(None);
        }
        // Taken back where a frame came whole.
        self.ended = true;
        let length = self.varint()?;
        if length == 0 {
            return self.check_end().map(|()| None);
        }
        let length = usize::try_from(length).ok().filter(|length| *length <= MAX_FRAME_BYTES);
        self.frame.resize(length.ok_or(ArchiveError::Length(self.frames))?, 0);
        if fill(&mut self.input, &mut self.frame).map_err(ArchiveError::Read)? < self.frame.len() {
            return Err(ArchiveError::CutOff(self.frames));
        }
        self.frames += 1;
        self.ended = false;
        Ok(Some(&self.frame))
    }

    fn check_end(&mut self) -> Result<(), ArchiveError> {
        let (said, found) = (self.varint()?, self.frames);
        if said != found {
            return Err(ArchiveError::Count { said, found });
        }
        match fill(&mut self.input, &mut [0]).map_err(ArchiveError::Read)? {
            0 => Ok(()),
            _ => Err(ArchiveError::Trailing),
        }
    }

    fn varint(&mut self) -> Result<u64, ArchiveError> {
        let mut value = 0_u64;
        for index in 0..MAX_VARINT_BYTES {
            let mut byte = [0];
            if fill(&mut self.input, &mut byte).map_err(ArchiveError::Read)? == 0 {
                return Err(ArchiveError::CutOff(self.frames));
            }
            let [byte] = byte;
            let bits = u64::from(byte & 0x7f);
            if bits << (7 * index) >> (7 * index) != bits {
                break;
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                return if byte == 0 && index > 0 { Err(ArchiveError::Length(self.frames)) } else { Ok(value) };
            }
        }
        Err(ArchiveError::Length(self.frames))
    }
}

fn write_varint(out: &mut impl Write, mut value: u64) -> io::Result<()> {
    while value >= 0x80 {
        out.write_all(&[value as u8 | 0x80])?;
        value >>= 7;
    }
    out.write_all(&[value as u8])
}

/// Reads until the buffer is full or the stream ends, and says how much that was.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
        match input.read(room) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Author, BootId, ClockState, Epoch, Kind, NodeKey, Stamp};

    fn frames(count: usize) -> Vec<Frame> {
        let stamp = Stamp { uptime_ms: 1, time_us: 1, clock: ClockState::SYNCED };
        let mut author = Author::new(NodeKey::from_seed([1; 32]), Epoch([1; 8]), BootId([1; 8]));
        (0..count).map(|index| author.sign_unchecked(stamp, Kind(77), &vec![7; index * 40]).unwrap()).collect()
    }

    fn archive(frames: &[Frame]) -> Vec<u8> {
        let mut writer = ArchiveWriter::begin(Vec::new()).unwrap();
        frames.iter().for_each(|frame| writer.write(frame).unwrap());
        writer.end().unwrap()
    }

    /// The frames that come, and how it ends.
    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Result<(), ArchiveError>) {
        let mut frames = Vec::new();
        let ended = ArchiveReader::begin(bytes).and_then(|mut reader| {
            while let Some(frame) = reader.next_frame()? {
                frames.push(frame.to_vec());
            }
            Ok(())
        });
        (frames, ended)
    }

    #[test]
    fn what_was_written_is_read_byte_for_byte() {
        for count in [0, 1, 20] {
            let frames = frames(count);
            let (read, ended) = read(&archive(&frames));
            ended.unwrap();
            assert_eq!(read, frames.iter().map(|frame| frame.bytes().to_vec()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_file_that_was_cut_off_anywhere_says_so_and_gives_what_came_before() {
        let frames = frames(4);
        let whole = archive(&frames);
        for length in 1..whole.len() {
            let (read, ended) = read(&whole[..length]);
            let came: Vec<_> = frames.iter().take(read.len()).map(|frame| frame.bytes().to_vec()).collect();
            assert_eq!(read, came, "cut at {length}");
            let Err(ArchiveError::CutOff(behind)) = ended else { panic!("cut at {length}: {ended:?}") };
            assert_eq!(behind, read.len() as u64);
        }
        assert!(matches!(read(&[]).1, Err(ArchiveError::Foreign)));
    }

    #[test]
    fn another_file_a_wrong_length_and_a_wrong_end_have_names() {
        let whole = archive(&frames(2));
        let (head, end) = (8, whole.len());
        let with = |at: usize, bytes: &[u8]| [&whole[..at], bytes].concat();
        let ended = |bytes: Vec<u8>| read(&bytes).1.unwrap_err().to_string();
        assert_eq!(ended(b"time,value\n".to_vec()), "this is no .magpie file");
        assert!(ended(with(7, &[9])).contains("version 9"));
        for length in
            [&[0x81, 0x40][..], &[0x85, 0x00], &[0xff; 11], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]]
        {
            assert!(ended(with(head, length)).contains("no length"), "{length:?}");
        }
        assert_eq!(ended(with(end - 1, &[3])), "the file says that it has 3 frames, and has 2");
        assert!(ended(with(end, &[0])).contains("behind the end"));
    }
}
