//! What `magpie export` makes of a store.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mesh::Account;
use reading::{
    Announcement, Author, BootId, ClockFix, ClockState, Epoch, Flag, Frame, Label, NodeKey, Payload, Place, Previous,
    Quantity, Reading, Readings, Reason, Sensor, Stamp, Text, parse_rfc3339,
};
use serde_json::Value;
use store::{Options, Store};
use tempfile::TempDir;

use super::target::Target;
use super::{Done, ExportArgs, Format, besides, export};
use crate::args::MeetArgs;
use crate::exit::Exit;
use crate::missing::Missing;
use crate::verify;

/// Wall time at uptime 0, us.
const BOOT_US: i64 = 1_764_000_000_000_000;

/// A node: ten seconds from frame to frame, and a clock that does not know the time before its fix.
struct Node {
    seed: u8,
    author: Author,
    boot: BootId,
    frames: Vec<Frame>,
    clock: ClockState,
}

impl Node {
    fn new(seed: u8) -> Self {
        Self::run(seed, 1, None)
    }

    /// A run of a boot of its own, a day after the one before.
    fn run(seed: u8, epoch: u8, previous: Option<Previous>) -> Self {
        let boot = BootId([epoch; 8]);
        let author = Author::new(NodeKey::from_seed([seed; 32]), Epoch([epoch; 8]), boot);
        let mut node = Self { seed, author, boot, frames: Vec::new(), clock: ClockState::SYNCED };
        let label = |text: &str| Label::new(text).unwrap();
        let sensor = |model: &str, address| Sensor {
            model: Text::new(model).unwrap(),
            bus: Text::new("i2c-1").unwrap(),
            address,
            serial: Text::default(),
            correction: Text::default(),
            simulated: false,
        };
        node.sign(Payload::Announcement(Announcement {
            place: Place { city: label("seoul"), area: label("jung"), node: label(&format!("roof-{seed}")) },
            addresses: Vec::new(),
            sensors: vec![sensor("SHT4x, \"new\"", 0x44), sensor("SCD4x", 0x62)],
            firmware: Text::default(),
            position: None,
            previous,
            certificate: Vec::new(),
        }));
        node
    }

    /// The node's next run.
    fn next(&self) -> Self {
        let last = self.frames.last().unwrap();
        Self::run(self.seed, self.boot.0[0] + 1, Some(Previous { epoch: last.epoch(), last_seq: last.seq() }))
    }

    fn sign(&mut self, payload: Payload) {
        let uptime_ms = self.author.last_seq() * 10_000 + u64::from(self.boot.0[0]) * 86_400_000;
        let time_us = if self.clock == ClockState::UNKNOWN { 0 } else { BOOT_US + uptime_ms as i64 * 1000 };
        let stamp = Stamp { uptime_ms, time_us, clock: self.clock };
        self.frames.push(self.author.sign(stamp, &payload).unwrap());
    }

    /// Two temperatures of two sensors, and a CO2 value that is in doubt.
    fn measure(&mut self, count: usize) -> &mut Self {
        let reading = |sensor, quantity, value, flag, reason| Reading {
            sensor,
            quantity,
            value: Some(value),
            raw: None,
            flag,
            reason,
        };
        for _ in 0..count {
            let warmth = 20.0 + self.author.last_seq() as f32 / 10.0;
            self.sign(Payload::Readings(Readings {
                announcement: 1,
                readings: vec![
                    reading(0, Quantity::TEMPERATURE, warmth, Flag::GOOD, Reason::NONE),
                    reading(1, Quantity::TEMPERATURE, warmth + 1.0, Flag::NOT_EVALUATED, Reason::NONE),
                    reading(1, Quantity::CO2, 417.0, Flag::SUSPECT, Reason::WARMING_UP),
                ],
            }));
        }
        self
    }

    fn fix(&mut self) -> &mut Self {
        self.clock = ClockState::SYNCED;
        let fix = ClockFix { boot: self.boot, wall_at_zero_us: BOOT_US, uncertainty_ms: 10 };
        self.sign(Payload::ClockFix(fix));
        self
    }

    /// From now on the time is not known.
    fn forget_time(&mut self) -> &mut Self {
        self.clock = ClockState::UNKNOWN;
        self
    }
}

/// When frame `seq` of run `epoch` is made.
fn time(epoch: u8, seq: u64) -> i64 {
    BOOT_US + i64::from(epoch) * 86_400_000_000 + (seq as i64 - 1) * 10_000_000
}

/// A store, and a folder to export to.
struct Shop {
    folder: TempDir,
    store: Store,
}

impl Shop {
    fn with(frames: &[&[Frame]]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("frames.db"), Options::default()).unwrap();
        frames.iter().for_each(|frames| assert_eq!(store.append(frames).unwrap(), frames.len()));
        Self { folder, store }
    }

    fn args(&self, format: Format, selectors: &[&str]) -> ExportArgs {
        ExportArgs {
            selectors: selectors.iter().map(|selector| selector.parse().unwrap()).collect(),
            format,
            since: None,
            until: None,
            store: Some(self.store.path().to_owned()),
            runtime_directory: None,
            output: Some(self.folder.path().join("export")),
            timeout: Duration::ZERO,
            meet: MeetArgs { connect: Vec::new(), no_mdns: true },
        }
    }

    fn export(&self, args: &ExportArgs) -> anyhow::Result<(Done, String)> {
        let done = export(&self.store, args, target(args), &AtomicBool::new(false))?;
        Ok((done, fs::read_to_string(args.output.as_ref().unwrap()).unwrap()))
    }

    /// What `magpie verify` says of the frames.
    fn verdict(&self, since: Option<i64>, until: Option<i64>) -> (verify::audit::Report, Exit) {
        let args = ExportArgs { since, until, ..self.args(Format::Magpie, &[]) };
        let done = export(&self.store, &args, target(&args), &AtomicBool::new(false)).unwrap();
        let report = verify::examine(fs::File::open(args.output.unwrap()).unwrap()).unwrap();
        (report, done.tell(Missing::default(), false))
    }
}

fn target(args: &ExportArgs) -> Target {
    Target::open(args.output.as_deref()).unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn readings_from_before_the_time_was_known_are_dated_in_the_export() {
    let mut node = Node::new(1);
    node.forget_time().measure(3).fix().measure(2);
    let shop = Shop::with(&[&node.frames]);
    let (done, text) = shop.export(&shop.args(Format::Jsonl, &["temperature"])).unwrap();
    let lines = lines(&text);
    assert_eq!(lines.len(), 10, "two temperatures of five frames");
    for line in &lines {
        let seq = line["seq"].as_u64().unwrap();
        assert_eq!(parse_rfc3339(line["time"].as_str().unwrap()), Some(time(1, seq)), "{line}");
        assert_eq!(line["path"], "seoul/jung/roof-1/temperature");
        assert_eq!(line["clock"], if seq < 5 { "redated" } else { "synced" });
        assert_eq!((&line["received"], &line["verified"]), (&Value::Null, &Value::Bool(true)));
    }
    assert!(lines.is_sorted_by_key(|line| line["seq"].as_u64()));
    assert_eq!(done.tell(Missing::default(), false), Exit::Done);
}

#[test]
fn a_table_has_the_columns_of_a_line() {
    let mut node = Node::new(1);
    node.measure(2);
    let shop = Shop::with(&[&node.frames]);
    let (_, table) = shop.export(&shop.args(Format::Csv, &[])).unwrap();
    let (_, lines_) = shop.export(&shop.args(Format::Jsonl, &[])).unwrap();
    let first = lines_.lines().next().unwrap();
    let keys: Vec<&str> =
        first.split('"').skip(1).step_by(2).filter(|key| first.contains(&format!("\"{key}\":"))).collect();
    assert_eq!(table.lines().next().unwrap(), keys.join(","));
    assert_eq!(table.lines().count(), 1 + lines(&lines_).len());
    let row = table.lines().nth(1).unwrap();
    assert!(row.starts_with("seoul/jung/roof-1/temperature,20.1,Cel,,good,none,2025-"), "{row}");
    assert!(row.contains(",\"SHT4x, \"\"new\"\"@i2c-1/0x44\",false,true"), "{row}");
}

#[test]
fn senml_has_what_can_be_trusted_under_one_name_a_series() {
    let mut nodes = [Node::new(1), Node::new(2)];
    nodes[0].measure(2).forget_time().measure(1);
    nodes[1].measure(2);
    let shop = Shop::with(&[&nodes[0].frames, &nodes[1].frames]);
    let (done, text) = shop.export(&shop.args(Format::Senml, &[])).unwrap();
    let pack: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(pack[0]["bver"], 26);
    // Base values hold until the next ones (RFC 8428 section 4.6).
    let (mut base_name, mut base_time, mut series) = (String::new(), 0.0, BTreeMap::<String, Vec<(f64, f64)>>::new());
    for record in &pack {
        base_name = record["bn"].as_str().map_or(base_name, str::to_owned);
        base_time = record["bt"].as_f64().unwrap_or(base_time);
        assert_eq!(record["u"], "Cel", "CO2 is in doubt: {record}");
        let name = format!("{base_name}{}", record["n"].as_str().unwrap());
        series.entry(name).or_default().push((base_time, record["v"].as_f64().unwrap()));
    }
    let names: Vec<&str> = series.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "seoul/jung/roof-1/temperature:0",
            "seoul/jung/roof-1/temperature:1",
            "seoul/jung/roof-2/temperature:0",
            "seoul/jung/roof-2/temperature:1"
        ]
    );
    let seconds = |seq| time(1, seq) as f64 / 1e6;
    assert_eq!(series["seoul/jung/roof-2/temperature:0"], [(seconds(2), 20.1), (seconds(3), 20.2)]);
    assert_eq!((done.export.readings, done.export.left_out), (8, 4 + 3), "four in doubt, three without a time");
}

#[test]
fn what_no_unit_of_senml_fits_is_converted() {
    let mut node = Node::new(1);
    let reading = |quantity, value| Reading {
        sensor: 0,
        quantity,
        value: Some(value),
        raw: None,
        flag: Flag::GOOD,
        reason: Reason::NONE,
    };
    let readings =
        [(Quantity::TVOC, 123.4), (Quantity::VOC_INDEX, 100.0), (Quantity::PM2_5, 12.5), (Quantity(900), 1.5)];
    let readings = readings.map(|(quantity, value)| reading(quantity, value)).to_vec();
    node.sign(Payload::Readings(Readings { announcement: 1, readings }));
    let shop = Shop::with(&[&node.frames]);
    let (_, text) = shop.export(&shop.args(Format::Senml, &[])).unwrap();
    let pack: Vec<Value> = serde_json::from_str(&text).unwrap();
    let said: Vec<_> = pack.iter().map(|record| (record["u"].as_str(), record["v"].as_f64().unwrap())).collect();
    assert_eq!(said, [(Some("ppm"), 0.1234), (Some("/"), 100.0), (Some("ug/m3"), 12.5), (None, 1.5)]);
}

#[test]
fn exported_frames_pass_for_whole_and_in_the_order_of_the_runs() {
    let mut first = Node::new(1);
    first.measure(3);
    let mut second = first.next();
    second.forget_time().measure(2).fix().measure(2);
    let mut other = Node::new(2);
    other.measure(2);
    // A neighbour may have heard of the later run first.
    let shop = Shop::with(&[&second.frames, &other.frames, &first.frames]);
    let (report, exit) = shop.verdict(None, None);
    assert_eq!((report.verdict(), exit), (verify::Verdict::Whole, Exit::Done), "{report:?}");
    assert_eq!(report.frames, 4 + 6 + 3);
    let epochs: Vec<u8> =
        report.runs.iter().filter(|run| run.node == first.author.node()).map(|run| run.epoch.0[0]).collect();
    assert_eq!(epochs, [1, 2]);
}

#[test]
fn some_hours_of_a_store_explain_themselves() {
    let mut first = Node::new(1);
    first.measure(9);
    let mut second = first.next();
    second.forget_time().measure(4).fix().measure(2);
    let shop = Shop::with(&[&first.frames, &second.frames]);
    let (report, exit) = shop.verdict(Some(time(1, 5)), Some(time(2, 4)));
    assert_eq!((report.verdict(), exit), (verify::Verdict::Whole, Exit::Done), "{report:?}");
    let ranges: Vec<_> = report.runs.iter().map(|run| (run.first, run.last, run.frames)).collect();
    assert_eq!(ranges[0], (1, 10, 7), "the announcement, and from 5 on");
    assert_eq!(ranges[1], (1, 6, 4), "up to 3, and the fix");
    assert_eq!(report.runs[1].clock.dated, 2);
    let args = ExportArgs { since: Some(time(1, 5)), until: Some(time(2, 4)), ..shop.args(Format::Jsonl, &["co2"]) };
    let (_, text) = shop.export(&args).unwrap();
    let seqs: Vec<_> = lines(&text).iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [5, 6, 7, 8, 9, 10, 2, 3]);
    let (report, _) = shop.verdict(Some(time(9, 1)), None);
    assert_eq!(report.frames, 0, "nothing is as late as that");
}

#[test]
fn what_never_had_a_time_is_rather_given_than_not() {
    let mut first = Node::new(1);
    first.forget_time().measure(2);
    let mut second = first.next();
    second.measure(3);
    let shop = Shop::with(&[&first.frames, &second.frames]);
    let export = |since, until| {
        let args = ExportArgs { since, until, ..shop.args(Format::Jsonl, &["co2"]) };
        lines(&shop.export(&args).unwrap().1).iter().map(|line| line["time"].is_null()).collect::<Vec<_>>()
    };
    assert_eq!(export(None, Some(time(2, 1))), [true; 2], "before a time before which it may have been");
    assert_eq!(export(None, Some(time(2, 3))), [true, true, false]);
    assert_eq!(export(Some(time(2, 3)), None), [false; 2], "but not behind a later run");
}

#[test]
fn what_is_missing_is_told_and_the_rest_is_exported() {
    let mut node = Node::new(1);
    node.measure(5);
    let hole: Vec<Frame> = node.frames.iter().filter(|frame| frame.seq() != 4).cloned().collect();
    let shop = Shop::with(&[&hole]);
    let (done, text) = shop.export(&shop.args(Format::Jsonl, &["co2"])).unwrap();
    assert_eq!(lines(&text).len(), 4);
    assert!(done.report.missing.shown[0].starts_with("frame 4 of run "), "{:?}", done.report.missing);
    assert_eq!(done.tell(Missing::default(), false), Exit::Incomplete);

    let shop = Shop::with(&[&node.frames[1..]]);
    let (done, text) = shop.export(&shop.args(Format::Jsonl, &[])).unwrap();
    assert_eq!(text, "", "nothing says what was measured where");
    assert!(done.report.missing.shown[0].starts_with("announcement 1 "), "{:?}", done.report.missing);
    assert_eq!(done.tell(Missing::default(), false), Exit::Incomplete);
}

#[test]
fn what_retention_took_is_told() {
    let mut node = Node::new(1);
    node.measure(2000);
    let folder = tempfile::tempdir().unwrap();
    let options = Options { max_bytes: 64 * 1024, ..Options::default() };
    let mut store = Store::open(&folder.path().join("frames.db"), options).unwrap();
    for frames in node.frames.chunks(100) {
        store.append(frames).unwrap();
    }
    let shop = Shop { folder, store };
    let gone_to = shop.store.epochs(node.author.node()).unwrap()[0].gone_to;
    assert!(gone_to > 0);
    let (report, exit) = shop.verdict(None, None);
    assert_eq!((report.verdict(), exit), (verify::Verdict::Whole, Exit::Incomplete), "no hole in what is left");
    let (_, exit) = shop.verdict(Some(time(1, gone_to + 10)), None);
    assert_eq!(exit, Exit::Done, "what was asked for is all there");
}

#[test]
fn what_exists_elsewhere_and_did_not_come_is_told_once() {
    let mut node = Node::new(1);
    node.measure(5);
    let hole: Vec<Frame> = node.frames.iter().filter(|frame| frame.seq() != 4).cloned().collect();
    let (id, epoch) = (node.author.node(), node.author.epoch());
    let told = |seqs, ends| {
        let shop = Shop::with(&[&hole]);
        let (done, _) = shop.export(&shop.args(Format::Jsonl, &[])).unwrap();
        let account = Account { missing: vec![(epoch, seqs)], confirmed: true, ..Account::default() };
        let missing = Missing { accounts: vec![(id, account)], ..Missing::default() };
        besides(&done.report, missing, ends).len()
    };
    assert_eq!(told(4..=4, false), 0, "the hole is in the report");
    assert_eq!((told(7..=9, false), told(7..=9, true)), (1, 0), "behind the end that was wanted nothing is missing");
    assert_eq!(told(2..=2, true), 1);
}

#[test]
fn a_node_that_nobody_could_ask_makes_no_complete_export() {
    let mut node = Node::new(1);
    node.measure(5);
    let shop = Shop::with(&[&node.frames]);
    let (done, _) = shop.export(&shop.args(Format::Jsonl, &[])).unwrap();
    let missing = Missing { unconfirmed: vec!["seoul/jung/roof-1".to_owned()], ..Missing::default() };
    assert_eq!(done.tell(missing, false), Exit::Incomplete);
}

#[test]
fn a_file_is_written_whole_or_not_at_all() {
    let mut node = Node::new(1);
    node.measure(2);
    let shop = Shop::with(&[&node.frames]);
    let args = shop.args(Format::Csv, &["busan/#"]);
    let output = args.output.clone().unwrap();
    fs::write(&output, "yesterday's").unwrap();
    let Err(error) = shop.export(&args) else { panic!("nobody is in busan") };
    assert!(error.to_string().starts_with("none of the nodes in "), "{error:#}");
    assert_eq!(fs::read_to_string(&output).unwrap(), "yesterday's");
    let args = shop.args(Format::Csv, &[]);
    let interrupted = export(&shop.store, &args, target(&args), &AtomicBool::new(true));
    assert_eq!(interrupted.err().unwrap().to_string(), "interrupted");
    assert_eq!(fs::read_to_string(&output).unwrap(), "yesterday's");
    let left: Vec<_> = fs::read_dir(shop.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("magpie-export")), "{left:?}");
}

#[test]
fn a_store_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &Path| format!("{:#}", super::open(path, None).err().unwrap());
    let path = folder.path().join("frames.db");
    assert!(refused(&path).contains("there is no store") && !path.exists(), "{}", refused(&path));
    fs::write(&path, "").unwrap();
    assert!(refused(folder.path()).contains("is empty") && fs::read(&path).unwrap().is_empty());
    fs::write(&path, "no store").unwrap();
    assert!(refused(&path).contains("is no store") && !refused(&path).contains("mv "), "{}", refused(&path));
}

#[test]
fn a_store_in_use_is_said_to_be() {
    let shop = Shop::with(&[]);
    let error = format!("{:#}", super::open(shop.store.path(), None).err().unwrap());
    assert!(error.contains("in use by another program"), "{error}");
}

#[test]
fn the_last_minutes_of_a_killed_node_are_in_its_directory_in_memory() {
    let (card, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
    let path = card.path().join("frames.db");
    let mut node = Node::new(1);
    node.measure(5);
    let mut store = Store::open(&path, Options::default()).unwrap();
    store.append(&node.frames[..3]).unwrap();
    store.sync().unwrap();
    store.keep_tail(memory.path()).unwrap();
    store.append(&node.frames[3..]).unwrap();
    // Nothing is synced, as when the node is killed.
    drop(store);
    let frames = |runtime| {
        let store = super::open(card.path(), runtime).unwrap();
        let frames = store.frames();
        store.close().unwrap();
        frames
    };
    assert_eq!(frames(None), 3);
    assert_eq!(frames(Some(memory.path())), 6);
    assert_eq!(fs::read_dir(memory.path()).unwrap().count(), 0, "now they are in the store");
    assert_eq!(frames(None), 6);
}
