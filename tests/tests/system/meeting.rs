//! Two programs find each other: on one machine, by one address, by multicast.

use anyhow::{Result, ensure};
use tests::magpie::{self, MEETING, NodeConfig, NodeFiles, PLACE};
use tests::netns::{Namespace, Switch, cable};
use tests::program::Program;

/// What a person does first: a node in one terminal, a subscriber in the other, no flags.
#[test]
fn on_one_machine_with_nothing_but_loopback() -> Result<()> {
    let machine = Namespace::new("machine")?;
    let files = NodeFiles::new(&NodeConfig { mdns: true, local: true, ..NodeConfig::new("roof") })?;
    let _node = files.simulate(magpie::within(&machine)?)?;
    let subscriber = Program::start("the subscriber", magpie::within(&machine)?.args(["sub", "temperature"]))?;
    let path = format!("{PLACE}/roof/temperature");
    subscriber.wait_for(&path, MEETING, |line| line.contains(&path).then_some(()))?;

    // The other way round: who is first does not matter.
    let subscriber = magpie::subscribe(magpie::within(&machine)?, &["humidity", "--count", "3", "--timeout", "60s"])?;
    let line = magpie::hear(&subscriber, "roof", "humidity")?;
    ensure!(line["simulated"] == true && line["unit"] == "%RH", "{line}");
    Ok(())
}

#[test]
fn the_subscriber_may_be_first() -> Result<()> {
    let machine = Namespace::new("machine")?;
    let subscriber = magpie::subscribe(magpie::within(&machine)?, &["temperature"])?;
    // It says so when it has looked everywhere.
    subscriber.wait_for_log("that it hears nothing", MEETING, |line| line.contains("nothing heard").then_some(()))?;
    let files = NodeFiles::new(&NodeConfig { local: true, ..NodeConfig::new("roof") })?;
    let _node = files.simulate(magpie::within(&machine)?)?;
    magpie::hear(&subscriber, "roof", "temperature")?;
    Ok(())
}

#[test]
fn by_one_address_between_two_machines() -> Result<()> {
    let (left, right) = (Namespace::new("left")?, Namespace::new("right")?);
    cable("eth0", [(&left, "10.1.0.1/24"), (&right, "10.1.0.2/24")])?;
    let files = NodeFiles::new(&NodeConfig::new("roof"))?;
    let _node = files.simulate(magpie::within(&left)?)?;
    let subscriber =
        magpie::subscribe(magpie::within(&right)?, &["#", "--no-mdns", "--connect", "/ip4/10.1.0.1/tcp/4710"])?;
    magpie::hear(&subscriber, "roof", "temperature")?;
    Ok(())
}

#[test]
fn by_multicast_alone_on_one_ethernet() -> Result<()> {
    let (left, right) = (Namespace::new("left")?, Namespace::new("right")?);
    let mut switch = Switch::new()?;
    switch.plug(&left, "10.1.0.1/24")?;
    switch.plug(&right, "10.1.0.2/24")?;
    let files = NodeFiles::new(&NodeConfig { mdns: true, ..NodeConfig::new("roof") })?;
    let _node = files.simulate(magpie::within(&left)?)?;
    let subscriber = magpie::subscribe(magpie::within(&right)?, &["temperature"])?;
    magpie::hear(&subscriber, "roof", "temperature")?;
    Ok(())
}
