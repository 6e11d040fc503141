//! The part of docs/sensors.md that is written from the table, so that it cannot say anything else than what is tested.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use hal::sim::Fault;
use reading::{Flag, Reason};

use crate::bench::GOOD;
use crate::table::{Expected, Row, TABLE};

const FILE: &str = "docs/sensors.md";
const BEGIN: &str = "<!-- written by `MAGPIE_WRITE_DOCS=1 cargo test -p magpie-hal --test faults`, from here -->\n";
const END: &str = "<!-- to here -->\n";

#[test]
fn the_document_says_what_is_tested() {
    let path = path();
    let document = fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once(BEGIN).unwrap_or_else(|| panic!("{FILE} lacks the line {BEGIN}"));
    let (_, after) = rest.split_once(END).unwrap_or_else(|| panic!("{FILE} lacks the line {END}"));
    let expected = [before, BEGIN, &chapter(), END, after].concat();
    if env::var_os("MAGPIE_WRITE_DOCS").is_some_and(|value| value == "1") {
        fs::write(&path, expected).unwrap();
        return;
    }
    let first_difference = document.lines().zip(expected.lines()).find(|(is, should_be)| is != should_be);
    assert!(
        document == expected,
        "{FILE} is not what the table says ({first_difference:?}); write it anew: MAGPIE_WRITE_DOCS=1 cargo test -p \
         magpie-hal --test faults"
    );
}

#[test]
fn every_flag_and_reason_is_explained() {
    let document = fs::read_to_string(path()).unwrap();
    let flags = Flag::KNOWN.iter().filter(|flag| **flag != Flag::NOT_EVALUATED).map(Flag::to_string);
    for name in flags.chain(Reason::KNOWN.iter().map(Reason::to_string)) {
        assert!(document.contains(&format!("\n| `{name}` |")), "{FILE} does not explain {name}");
    }
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(FILE)
}

fn chapter() -> String {
    TABLE.iter().map(section).collect()
}

fn section(row: &Row) -> String {
    let model = row.model;
    let quantities: Vec<String> =
        model.quantities().iter().map(|quantity| format!("{quantity} ({})", quantity.unit())).collect();
    let addresses: Vec<String> = model.addresses().iter().map(|address| format!("0x{address:02x}")).collect();
    let mut text = format!("\n### {model}\n\n{}\n\n", row.note);
    let _ = writeln!(text, "- Measures {}", quantities.join(", "));
    let _ = writeln!(text, "- Address {}", addresses.join(" or "));
    let _ = writeln!(text, "- At the soonest a new value every {}", duration(model.min_interval()));
    let _ = match model.warm_up() {
        Duration::ZERO => writeln!(text, "- No warm-up"),
        warm_up => writeln!(text, "- Warm-up {}", duration(warm_up)),
    };
    text += "\n| fault | while it lasts | good again after |\n|---|---|---|\n";
    let mut lines: Vec<(Vec<&str>, [String; 2])> = Vec::new();
    for (fault, expected) in row.faults() {
        let cells = cells(fault, expected);
        match lines.iter_mut().find(|(_, known)| *known == cells) {
            Some((faults, _)) => faults.push(in_words(fault)),
            None => lines.push((vec![in_words(fault)], cells)),
        }
    }
    for (faults, [looks, back]) in lines {
        let _ = writeln!(text, "| {} | {looks} | {back} |", faults.join("; "));
    }
    text
}

fn cells(fault: Fault, expected: &Expected) -> [String; 2] {
    let looks = match expected.looks {
        [GOOD] if fault == Fault::Stuck => "good, until the history shows a flat line".to_owned(),
        [GOOD] => return ["good, and right".to_owned(), "-".to_owned()],
        // How soon the power is back decides which.
        looks if fault == Fault::PowerLoss => looks.join(", or "),
        looks => looks.join(", then "),
    };
    [looks, duration(Duration::from_secs(expected.back_s))]
}

fn in_words(fault: Fault) -> &'static str {
    match fault {
        Fault::Unplugged => "unplugged",
        Fault::Busy => "a measurement never ends",
        Fault::Checksum => "checksums are wrong",
        Fault::Stuck => "data are stuck",
        Fault::WrongId => "another chip at the address",
        Fault::ResetContents => "hangs in reset",
        Fault::Truncated => "answers break off",
        Fault::Broken => "says that it is broken",
        Fault::PowerLoss => "power away for a moment",
    }
}

fn duration(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        seconds if seconds >= 60 && seconds % 60 == 0 => format!("{} min", seconds / 60),
        _ => format!("{} s", time.as_secs_f32()),
    }
}
