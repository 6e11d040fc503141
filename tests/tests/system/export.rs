//! What a node measured, as a file that proves itself.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tests::magpie::{self, MEETING, NodeConfig, NodeFiles, PLACE, STOPPING};
use tests::netns::Namespace;
use tests::program::Program;

/// Exit codes of `magpie`.
const WHOLE: i32 = 0;
const FAILED: i32 = 1;
const INCOMPLETE: i32 = 4;

#[test]
fn what_a_subscriber_heard_is_in_the_export_and_the_export_is_proof() -> Result<()> {
    // A real node on this machine would be in the export, too.
    let machine = Namespace::new("machine")?;
    machine.enter()?;
    let port = magpie::free_port()?;
    let address = format!("/ip4/127.0.0.1/tcp/{port}");
    let files = NodeFiles::new(&NodeConfig {
        listen: address.clone(),
        interval: "100ms",
        chips: vec!["SHT4x"],
        ..NodeConfig::new("archivist")
    })?;
    let mut node = files.simulate(magpie::here()?)?;
    let subscriber = magpie::subscribe(magpie::here()?, &["temperature", "--no-mdns", "--connect", &address])?;
    let heard: Vec<Value> =
        (0..5).map(|_| magpie::hear(&subscriber, "archivist", "temperature")).collect::<Result<_>>()?;

    let folder = tempfile::tempdir()?;
    let (lines, archive) = (folder.path().join("lines.jsonl"), folder.path().join("frames.magpie"));
    let store = &files.state();
    let in_use = export(&["--store"], store, &lines, FAILED)?;
    ensure!(in_use.contains("is in use by another program"), "{in_use}");
    ensure!(!lines.exists(), "a failed export left a file");

    export(&["--format", "magpie", "--no-mdns", "--connect"], &address, &archive, WHOLE)?;
    let running = verify(&archive, WHOLE)?;
    ensure!(running["nodes"][0]["node"] == heard[0]["node"], "the mesh gave {running}");
    ensure!(running["nodes"][0]["runs"][0]["first_seq"] == 1, "the mesh gave {running}");
    ensure!(running["frames"].as_u64() > heard[4]["seq"].as_u64(), "the mesh gave {running}");

    node.signal(Signal::TERM)?;
    node.wait_exit_code(0, STOPPING)?;
    export(&["temperature", "--store"], store, &lines, WHOLE)?;
    let exported: Vec<Value> =
        fs::read_to_string(&lines)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    for line in &heard {
        let same = |other: &&Value| ["epoch", "seq", "sensor"].iter().all(|key| line[key] == other[key]);
        let other = exported.iter().find(same).with_context(|| format!("{line} is not in the export"))?;
        for key in ["path", "node", "value", "unit", "flag", "time", "simulated"] {
            ensure!(line[key] == other[key], "{key} differs: heard {line}, exported {other}");
        }
    }

    export(&["--format", "magpie", "--store"], store, &archive, WHOLE)?;
    let report = verify(&archive, WHOLE)?;
    ensure!(
        report["nodes"][0]["node"] == heard[0]["node"] && report["nodes"][0]["path"] == format!("{PLACE}/archivist")
    );
    tampered(&archive)
}

/// A changed file is no proof, and a cut one says that it is not whole.
fn tampered(archive: &Path) -> Result<()> {
    let mut bytes = fs::read(archive)?;
    // In the signature of the last frame, behind which are only the end and the count.
    let at = bytes.len() - 20;
    bytes[at] ^= 1;
    fs::write(archive, &bytes)?;
    ensure!(verify(archive, FAILED)?["verdict"] == "wrong");
    bytes[at] ^= 1;
    fs::write(archive, &bytes[..bytes.len() / 2])?;
    ensure!(verify(archive, INCOMPLETE)?["verdict"] == "incomplete");
    Ok(())
}

/// What `magpie export` says on stderr.
fn export(arguments: &[&str], source: impl AsRef<OsStr>, output: &Path, code: i32) -> Result<String> {
    let mut magpie = magpie::here()?;
    let command = magpie.arg("export").args(arguments).arg(source).arg("--output").arg(output);
    Program::start("the export", command)?.wait_exit_code(code, MEETING)
}

/// What `magpie verify` says.
fn verify(file: &Path, code: i32) -> Result<Value> {
    let mut program = Program::start("the proof", magpie::here()?.args(["verify", "--json"]).arg(file))?;
    let report = program.wait_for_json("its report", MEETING, |_| true)?;
    program.wait_exit_code(code, MEETING)?;
    Ok(report)
}
