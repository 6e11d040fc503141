//! Three nodes in a line: what the outer ones say to each other goes through the middle one.

use std::time::{Duration, Instant};

use anyhow::Result;
use tests::magpie::{self, NodeConfig, NodeFiles, PLACE, is_good};
use tests::netns::{Namespace, cable};

/// What is promised.
const HEARD_AGAIN: Duration = Duration::from_secs(10);

#[test]
fn the_far_end_is_heard_through_the_middle_and_again_after_the_middle_died() -> Result<()> {
    let [a, b, c] = [Namespace::new("a")?, Namespace::new("b")?, Namespace::new("c")?];
    cable("ab", [(&a, "10.1.0.1/24"), (&b, "10.1.0.2/24")])?;
    cable("bc", [(&b, "10.2.0.2/24"), (&c, "10.2.0.3/24")])?;
    let config =
        |name, connect: &str| NodeConfig { connect: vec![connect.to_owned()], local: true, ..NodeConfig::new(name) };
    let files_a = NodeFiles::new(&config("a", "/ip4/10.1.0.2/tcp/4710"))?;
    let files_b = NodeFiles::new(&NodeConfig::new("b"))?;
    let files_c = NodeFiles::new(&config("c", "/ip4/10.2.0.2/tcp/4710"))?;
    let _node_a = files_a.simulate(magpie::within(&a)?)?;
    let node_b = files_b.simulate(magpie::within(&b)?)?;
    let _node_c = files_c.simulate(magpie::within(&c)?)?;
    let subscriber = magpie::subscribe(magpie::within(&c)?, &["temperature", "--no-mdns"])?;
    magpie::hear(&subscriber, "a", "temperature")?;
    let first_life = magpie::hear(&subscriber, "b", "temperature")?;

    node_b.kill()?;
    let killed = Instant::now();
    let _node_b = files_b.simulate(magpie::within(&b)?)?;
    let mut is_back = false;
    // What was still on its way from B's first life comes before anything of its second.
    subscriber.wait_for_json("A again after B came back", HEARD_AGAIN, |line| {
        let of = |node| line["path"] == format!("{PLACE}/{node}/temperature") && is_good(line);
        is_back |= of("b") && line["epoch"] != first_life["epoch"];
        is_back && of("a")
    })?;
    println!("heard again after {:?}", killed.elapsed());
    Ok(())
}
