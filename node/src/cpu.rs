//! How warm the CPU is, averaged: its temperature jumps with every task, and what sits beside it follows slowly.

use std::path::Path;
use std::time::Duration;

/// Where the kernel says it, in thousandths of a degree; on a Pi the only zone, `cpu-thermal`.
const THERMAL_ZONE: &str = "/sys/class/thermal/thermal_zone0/temp";
/// A step has gone into the average by two thirds after this long.
const AVERAGED_OVER: Duration = Duration::from_secs(60);

/// The CPU's temperature now, Cel; `None` where the machine does not say.
pub fn celsius() -> Option<f64> {
    parse(&std::fs::read_to_string(Path::new(THERMAL_ZONE)).ok()?)
}

fn parse(text: &str) -> Option<f64> {
    let celsius = text.trim().parse::<i32>().map(f64::from).ok()? / 1000.0;
    // A zone without a sensor says 0 or what nothing alive has.
    (celsius > 0.0 && celsius < 150.0).then_some(celsius)
}

/// The average.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuHeat(Option<(Duration, f64)>);

impl CpuHeat {
    /// Takes a temperature of now, Cel, and gives the average; `None` ends it.
    pub fn average(&mut self, now: Duration, celsius: Option<f64>) -> Option<f64> {
        self.0 = celsius.map(|celsius| match self.0 {
            None => (now, celsius),
            Some((before, average)) => {
                let age = now.saturating_sub(before).as_secs_f64() / AVERAGED_OVER.as_secs_f64();
                (now, celsius + (average - celsius) * (-age).exp())
            }
        });
        self.0.map(|(_, average)| average)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_thousandths_are_read_and_nonsense_is_not() {
        assert_eq!(parse("48312\n"), Some(48.312));
        for text in ["", "hot", "0", "-273150", "999999"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_step_goes_into_the_average_by_two_thirds_in_a_minute_however_often_it_is_asked() {
        for every_s in [1, 10, 60] {
            let mut heat = CpuHeat::default();
            assert_eq!(heat.average(Duration::ZERO, Some(40.0)), Some(40.0));
            let mut average = None;
            for at in (every_s..=60).step_by(every_s as usize) {
                average = heat.average(Duration::from_secs(at), Some(70.0));
            }
            assert!((average.unwrap() - 58.96).abs() < 0.01, "{average:?}");
        }
        let mut heat = CpuHeat::default();
        assert_eq!(heat.average(Duration::ZERO, None), None);
    }
}
