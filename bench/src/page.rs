//! Where figures go: the terminal, a file, and the page that has them between two markers, so that nobody types them.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// Shows a table.
pub fn print(table: &str) -> Result<()> {
    io::stdout().lock().write_all(table.as_bytes()).context("cannot show the figures")
}

/// Writes a file, and its folder where that is missing.
pub fn write(file: &Path, text: &str) -> Result<()> {
    let folder = file.parent().unwrap_or(file);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Puts a new text between a page's two markers of this name.
pub fn regenerate(page: &Path, name: &str, text: &str) -> Result<()> {
    let old = fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let (begin, end) = markers(name);
    let new = between(&old, &begin, &end, text);
    let new = new.with_context(|| format!("{} has no lines {begin:?} and {end:?}", page.display()))?;
    fs::write(page, new).with_context(|| format!("cannot write {}", page.display()))
}

/// On what the figures were measured, and whether anything else ran there: a line for the page.
pub fn surroundings() -> Result<String> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    let processors = read("/proc/cpuinfo")?;
    let models = processors.lines().filter_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let (count, model) = models.fold((0, "an unnamed processor"), |(count, _), (_, model)| (count + 1, model));
    let load = read("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    Ok(format!("{count} cores, {model}; load average {load} when the run began."))
}

fn markers(name: &str) -> (String, String) {
    (format!("<!-- {name}: written by `make bench-{name}` -->\n"), format!("<!-- end of {name} -->\n"))
}

fn between(page: &str, begin: &str, end: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some([before, begin, "\n", text, "\n", end, after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let (begin, end) = markers("growth");
        let page = format!("# Performance\n{begin}old\n{end}prose\n");
        let new = between(&page, &begin, &end, "| new |\n").unwrap();
        assert_eq!(new, format!("# Performance\n{begin}\n| new |\n\n{end}prose\n"));
        assert_eq!(between(&new, &begin, &end, "| new |\n").unwrap(), new, "the same again changes nothing");
        assert_eq!(between(&format!("{end}{begin}"), &begin, &end, ""), None);
    }

    #[test]
    fn the_real_page_has_every_place() {
        let page = include_str!("../../docs/performance.md");
        for name in ["node", "growth", "delivery"] {
            let (begin, end) = markers(name);
            assert!(between(page, &begin, &end, "").is_some(), "{begin}");
        }
    }
}
