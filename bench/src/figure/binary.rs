//! How large the Raspberry Pi's binary is.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::figure::Figures;

/// The size of the file that `make pi` makes.
pub fn measure(pi_binary: &Path) -> Result<Figures> {
    let metadata = fs::metadata(pi_binary)
        .with_context(|| format!("{} is missing: build it with `make pi`", pi_binary.display()))?;
    Ok(vec![("binary_bytes_aarch64", metadata.len() as f64)])
}
