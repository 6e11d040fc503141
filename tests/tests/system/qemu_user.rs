//! The Raspberry Pi's binary, instruction for instruction, as a node with simulated sensors.

use anyhow::{Result, ensure};
use tests::magpie::{self, NodeConfig, NodeFiles};
use tests::needs;
use tests::netns::Namespace;

#[test]
fn the_pis_binary_is_heard_by_this_machines() -> Result<()> {
    let machine = Namespace::new("machine")?;
    let files = NodeFiles::new(&NodeConfig { local: true, ..NodeConfig::new("pi") })?;
    let mut command = machine.command(needs::qemu()?.join("bin/qemu-aarch64"));
    command.arg(needs::pi_magpie()?);
    let _node = files.simulate(magpie::without_settings(command))?;
    let subscriber = magpie::subscribe(magpie::within(&machine)?, &["+/+/+/temperature", "+/+/+/co2", "--no-mdns"])?;
    let line = magpie::hear(&subscriber, "pi", "temperature")?;
    ensure!(line["simulated"] == true, "{line}");
    magpie::hear(&subscriber, "pi", "co2")?;
    Ok(())
}
