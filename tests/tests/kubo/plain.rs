//! Plain lines, from a node to `ipfs pubsub sub` and from `ipfs pubsub pub` to `magpie sub`.

use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reading::{Flag, FrameId, Payload, Quantity, shortest};
use rustix::process::Signal;
use store::{Options, Store};
use tests::magpie::{self, MEETING, NodeFiles, STOPPING};
use tests::netns::Namespace;

use crate::daemon::{HEARTBEAT, Kubo};
use crate::node;

const MESSAGES: usize = 100;
/// Both sides send at this rate; faster, Kubo's validation workers may turn two messages round, and drop the older one.
const INTERVAL: Duration = Duration::from_millis(200);
/// Lines that may come before the first heartbeat after connecting has passed, with a margin. They are not counted.
const EARLY: usize = 10;
/// The city that Kubo speaks of here.
const FROM_KUBO: &str = "from-kubo";

/// What a person with Kubo types: `ipfs pubsub sub temperature`.
#[test]
fn ipfs_pubsub_sub_prints_lines_of_json() -> Result<()> {
    let machine = Namespace::new("kubo")?;
    let kubo = Kubo::start(&machine)?;
    let subscriber = kubo.subscribe(node::TOPIC)?;
    let files = NodeFiles::new(&node::config("roof"))?;
    let _node = files.simulate(node::plain(&machine)?)?;
    for _ in 0..3 {
        let line = node::hear(&subscriber, "roof")?;
        let keys: Vec<_> = line.as_object().context("an object")?.keys().collect();
        ensure!(keys.len() == 7 && line.get("time").is_some(), "{line}");
        ensure!(line["city"] == "seoul" && line["area"] == "lab" && line["quantity"] == "temperature", "{line}");
        ensure!(line["unit"] == "Cel" && line["value"].is_number(), "{line}");
    }
    Ok(())
}

#[test]
fn of_a_hundred_messages_each_way_none_is_lost() -> Result<()> {
    let machine = Namespace::new("kubo")?;
    let kubo = Kubo::start(&machine)?;
    let from_node = kubo.subscribe(node::TOPIC)?;
    let count = MESSAGES.to_string();
    let arguments =
        ["--plain", FROM_KUBO, "--no-mdns", "--connect", &node::kubo_address(), "--count", &count, "--timeout", "2m"];
    let mut from_kubo = magpie::subscribe(magpie::within(&machine)?, &arguments)?;
    let files = NodeFiles::new(&node::config("roof"))?;
    let mut roof = files.simulate(node::plain(&machine)?)?;
    node::hear(&from_node, "roof")?;
    kubo.wait_for_any_follower(FROM_KUBO)?;
    thread::sleep(HEARTBEAT);

    let start = Instant::now();
    for (number, turn) in (1..=MESSAGES).zip(0..) {
        thread::sleep((start + INTERVAL * turn).saturating_duration_since(Instant::now()));
        kubo.publish(FROM_KUBO, &format!("{number}\n"))?;
    }
    let heard = from_kubo.rest(MEETING)?;
    let heard = heard.iter().map(|line| Ok(serde_json::from_str::<serde_json::Value>(line)?));
    let heard = heard.collect::<Result<Vec<_>>>()?;
    let wanted = (1..=MESSAGES).map(|number| number as f64).map(Some);
    ensure!(heard.iter().map(|line| line["value"].as_f64()).eq(wanted), "not 1 to {MESSAGES}: {heard:#?}");
    ensure!(heard.iter().all(|line| line["verified"] == false && line["node"] == kubo.id()), "{heard:#?}");
    from_kubo.wait_exit_code(0, STOPPING)?;

    let lines = (0..EARLY + MESSAGES).map(|_| node::hear(&from_node, "roof"));
    let heard = lines.map(|line| line?["value"].as_f64().context("a line without value"));
    let heard = heard.collect::<Result<Vec<_>>>()?;
    roof.signal(Signal::TERM)?;
    ensure!(roof.wait_exit(STOPPING).as_ref().is_ok_and(ExitStatus::success), roof.tail());
    let measured = measured(&files)?;
    let found = measured.windows(MESSAGES).filter(|run| *run == &heard[EARLY..]).count();
    ensure!(found == 1, "these are found {found} times in what the node measured: {heard:?}\n{measured:?}");
    Ok(())
}

/// The temperatures that the node of these files measured, in order, as it has them in its store.
fn measured(files: &NodeFiles) -> Result<Vec<f64>> {
    let store = Store::open(&files.store(), Options::default()).context("the store does not open")?;
    let [node] = store.nodes()?[..] else { anyhow::bail!("the store has frames of {:?}", store.nodes()?) };
    let mut values = Vec::new();
    for range in store.epochs(node)? {
        for seq in range.first_seq..=range.last_seq {
            let frame = store.get(FrameId { node, epoch: range.epoch, seq })?.context("a hole in the store")?;
            let Payload::Readings(readings) = frame.payload()? else { continue };
            values.extend(
                readings
                    .readings
                    .iter()
                    .filter(|reading| reading.quantity == Quantity::TEMPERATURE && reading.flag == Flag::GOOD)
                    .filter_map(|reading| reading.value.map(shortest)),
            );
        }
    }
    Ok(values)
}
