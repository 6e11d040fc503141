//! The program and the board.

use super::finding::Finding;
use super::sys::Sys;

pub fn look(sys: &Sys) -> Vec<Finding> {
    let kernel = sys.text("proc/sys/kernel/osrelease").unwrap_or_else(|| "of unknown version".to_owned());
    let model = sys.text("proc/device-tree/model");
    let board = model.clone().unwrap_or_else(|| "not a Raspberry Pi".to_owned());
    let mut findings = vec![
        Finding::ok("version", format!("magpie {} on Linux {kernel}", env!("CARGO_PKG_VERSION"))),
        Finding::ok("board", board),
    ];
    findings.extend(power(sys));
    findings
}

// Bits of get_throttled (Raspberry Pi documentation, vcgencmd). The high half says what has happened since the start.
const UNDER_VOLTAGE_NOW: u32 = 1;
const THROTTLED_NOW: u32 = 1 << 2;
const UNDER_VOLTAGE_BEFORE: u32 = 1 << 16;

const SUPPLY: &str =
    "use a supply of 5.1 V and 2.5 A and a short, thick cable; sensors and SD cards fail first when the voltage drops";

fn power(sys: &Sys) -> Option<Finding> {
    let text = sys.text("sys/devices/platform/soc/soc:firmware/get_throttled")?;
    let bits = u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()?;
    Some(if bits & UNDER_VOLTAGE_NOW != 0 {
        Finding::problem("power", "the supply voltage is too low now", SUPPLY)
    } else if bits & UNDER_VOLTAGE_BEFORE != 0 {
        Finding::warning("power", "the supply voltage was too low at times since the start", SUPPLY)
    } else if bits & THROTTLED_NOW != 0 {
        Finding::warning("power", "the processor is too hot and slowed down", "give the board air, or shade")
    } else {
        Finding::ok("power", "the supply voltage has been right since the start")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;

    #[test]
    fn a_weak_supply_is_told() {
        let root = tempfile::tempdir().unwrap();
        let sys = Sys::below(root.path());
        assert_eq!(power(&sys), None);
        let file = sys.path("sys/devices/platform/soc/soc:firmware/get_throttled");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        for (bits, state) in
            [("0\n", State::Ok), ("50005\n", State::Problem), ("50000\n", State::Warning), ("4\n", State::Warning)]
        {
            std::fs::write(&file, bits).unwrap();
            assert_eq!(power(&sys).unwrap().state, state, "{bits}");
        }
    }
}
