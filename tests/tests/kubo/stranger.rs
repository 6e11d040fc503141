//! A subscriber on go-libp2p-pubsub that knows of Magpie only docs/wire.md, and checks every signature itself.

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
    // From now on the subscriber misses nothing, and the stranger's frames are later ones.
    magpie::hear(&subscriber, "roof", "temperature")?;
    let mut command: Command = machine.command(program);
    command.args([&format!("{}/p2p/{id}", node::ADDRESS), &format!("magpie/1/{PLACE}"), &FRAMES.to_string()]);
    let mut stranger = Program::start("the stranger", &mut command)?;
    let frames = stranger.rest(MEETING)?;
    stranger.wait_exit_code(0, STOPPING)?;
    ensure!(frames.len() == FRAMES, "{} frames verified", frames.len());

    let mut compared = 0;
    for frame in &frames {
        let frame: Value = serde_json::from_str(frame).context("the stranger prints JSON")?;
        let Some(temperature) = temperature(&frame) else { continue };
        let line = subscriber.wait_for_json(&format!("frame {}", frame["seq"]), MEETING, |line| {
            line["seq"] == frame["seq"] && line["epoch"] == frame["epoch"]
        })?;
        ensure!(line["node"] == frame["node"] && frame["node"] == id.as_str(), "{line} is not of the node of {frame}");
        ensure!(line["value"] == *temperature, "{line} does not say what {frame} says");
        ensure!(line["verified"] == true, "{line}");
        compared += 1;
    }
    ensure!(compared > FRAMES / 2, "only {compared} of {FRAMES} frames had a temperature: {frames:#?}");
    Ok(())
}

/// The value of the frame's temperature.
fn temperature(frame: &Value) -> Option<&Value> {
    let reading = frame["readings"].as_array()?.iter().find(|reading| reading["quantity"] == TEMPERATURE)?;
    Some(&reading["value"])
}
