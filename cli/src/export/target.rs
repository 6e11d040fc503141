//! Where an export goes.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::NamedTempFile;

/// What an export is written to.
pub enum Target {
    /// Stdout, a device or a pipe, with its name: it gets what comes as it comes, and stays what it is.
    Stream(Box<dyn Write + Send>, String),
    /// A file that takes its place when it is whole, and goes by itself where the export fails.
    File(NamedTempFile, PathBuf),
}

impl Target {
    /// Finds out whether it can be written before anything is asked for.
    pub fn open(output: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = output else { return Ok(Self::Stream(Box::new(io::stdout()), "stdout".to_owned())) };
        let name = path.display().to_string();
        let failed = || format!("cannot write {name}");
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            let stream = OpenOptions::new().write(true).open(path).with_context(failed)?;
            return Ok(Self::Stream(Box::new(stream), name));
        }
        // A link stays: the file that it leads to is replaced.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new();
        // Its permissions are those of any new file.
        file.permissions(Permissions::from_mode(0o666)).prefix(".magpie-export-");
        let file = file.tempfile_in(folder).with_context(failed)?;
        Ok(Self::File(file, path))
    }

    /// What it is called.
    pub fn name(&self) -> String {
        match self {
            Self::Stream(_, name) => name.clone(),
            Self::File(_, path) => path.display().to_string(),
        }
    }

    /// Where to write to.
    pub fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Stream(stream, _) => stream,
            Self::File(file, _) => file,
        }
    }

    /// Everything was written.
    pub fn end(self) -> io::Result<()> {
        match self {
            Self::Stream(..) => Ok(()),
            Self::File(file, path) => {
                file.as_file().sync_all()?;
                file.persist(path).map(drop).map_err(|error| error.error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::unix::fs::{FileTypeExt, symlink};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn write(path: &Path, text: &str) {
        let mut target = Target::open(Some(path)).unwrap();
        target.writer().write_all(text.as_bytes()).unwrap();
        target.end().unwrap();
    }

    #[test]
    fn what_is_no_file_stays_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        // Both ends, so that nobody waits for the other.
        let mut pipe = File::options().read(true).write(true).open(&path).unwrap();
        write(&path, "today");
        assert!(fs::metadata(&path).unwrap().file_type().is_fifo(), "as it would be with /dev/null");
        let mut came = [0; 5];
        pipe.read_exact(&mut came).unwrap();
        assert_eq!(&came, b"today");
    }

    #[test]
    fn a_link_stays_and_what_it_leads_to_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "yesterday").unwrap();
        symlink(&file, &link).unwrap();
        write(&link, "today");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "today");
    }

    #[test]
    fn what_cannot_be_written_is_said_before_anything_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("missing/file")] {
            let error = format!("{:#}", Target::open(Some(&path)).err().unwrap());
            assert!(error.starts_with(&format!("cannot write {}: ", path.display())), "{error}");
        }
    }
}
