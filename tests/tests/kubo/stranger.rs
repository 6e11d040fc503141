//! A subscriber on go-libp2p-pubsub that knows of Magpie only docs/wire.md, and checks every signature itself.

use std::collections::HashMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::magpie::{self, MEETING, NodeConfig, NodeFiles, PLACE, STOPPING};
use tests::netns::Namespace;
use tests::program::Program;

use crate::{needs, node};

const FRAMES: usize = 50;
/// Temperature, in docs/wire.md.
const TEMPERATURE: u64 = 1;

#[test]
fn it_reads_the_golden_frames_and_refuses_each_of_them_with_a_bit_changed() -> Result<()> {
    needs::stranger_tests()
}

#[test]
fn it_verifies_what_a_node_signs_and_reads_what_magpie_sub_reads() -> Result<()> {
    let program = needs::stranger()?;
    let machine = Namespace::new("stranger")?;
    let files = NodeFiles::new(&NodeConfig { connect: Vec::new(), ..node::config("roof") })?;
    let id = node::identify(&files, 1)?;
    let _node = files.simulate(magpie::within(&machine)?)?;
    let subscriber = magpie::subscribe(magpie::within(&machine)?, &["temperature", "--no-mdns"])?;
    let line = magpie::hear(&subscriber, "roof", "temperature")?;
    let first = line["seq"].as_u64().context("a line without seq")?;
    let mut command: Command = machine.command(program);
    command.args([&format!("{}/p2p/{id}", node::ADDRESS), &format!("magpie/1/{PLACE}"), &FRAMES.to_string()]);
    let mut stranger = Program::start("the stranger", &mut command)?;
    let frames = stranger.rest(MEETING)?;
    stranger.wait_exit_code(0, STOPPING)?;
    ensure!(frames.len() == FRAMES, "{} frames verified", frames.len());

    let frames = frames.iter().map(|frame| serde_json::from_str(frame).context("the stranger prints JSON"));
    let frames = frames.collect::<Result<Vec<Value>>>()?;
    let last = frames.iter().filter_map(|frame| frame["seq"].as_u64()).max().context("frames have numbers")?;
    let lines = lines_until(last, line, &subscriber)?;
    let mut compared = 0;
    for frame in &frames {
        ensure!(frame["node"] == id.as_str(), "{frame} is not of the node {id}");
        let (seq, temperature) = (frame["seq"].as_u64().context("a frame without seq")?, temperature(frame));
        // A newcomer is also offered what was published just before it came: that may be before the subscriber's time.
        let Some(line) = lines.get(&seq) else {
            ensure!(seq < first || temperature.is_none(), "magpie sub did not hear {frame}");
            continue;
        };
        ensure!(line["node"] == frame["node"] && line["epoch"] == frame["epoch"], "{line} is not of {frame}");
        ensure!(Some(&line["value"]) == temperature, "{line} does not say what {frame} says");
        ensure!(line["verified"] == true, "{line}");
        compared += 1;
    }
    ensure!(compared > FRAMES / 2, "only {compared} of {FRAMES} frames were heard by both: {frames:#?}\n{lines:#?}");
    Ok(())
}

/// The subscriber's lines, by the number of their frame: from this one to the last.
fn lines_until(last: u64, mut line: Value, subscriber: &Program) -> Result<HashMap<u64, Value>> {
    let mut lines = HashMap::new();
    loop {
        let seq = line["seq"].as_u64().context("a line without seq")?;
        lines.insert(seq, line);
        if seq >= last {
            return Ok(lines);
        }
        line = magpie::hear(subscriber, "roof", "temperature")?;
    }
}

/// The value of the frame's temperature.
fn temperature(frame: &Value) -> Option<&Value> {
    let reading = frame["readings"].as_array()?.iter().find(|reading| reading["quantity"] == TEMPERATURE)?;
    Some(&reading["value"])
}
