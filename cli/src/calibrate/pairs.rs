//! From two series, or a table, to pairs of one time.

use reading::parse_rfc3339;
use serde::Deserialize;

use super::fit::Pair;

/// A value of some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// us since 1970, by one clock for both series.
    pub time_us: i64,
    /// In the quantity's unit.
    pub value: f64,
}

/// What a file of the reference holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Table {
    /// Columns `measured` and `reference`.
    Pairs(Vec<Pair>),
    /// Columns `time` and `reference`.
    Reference(Vec<Sample>),
}

/// Each value of the reference with the measured one that is nearest in time, if that is no further than `within_us`. No measured
/// value is used twice: one that is repeated would count as often.
pub fn matched(measured: &[Sample], reference: &[Sample], within_us: i64) -> Vec<Pair> {
    let mut measured = measured.to_vec();
    let mut reference = reference.to_vec();
    measured.sort_by_key(|sample| sample.time_us);
    reference.sort_by_key(|sample| sample.time_us);
    let mut pairs = Vec::new();
    let mut next = 0;
    for reference in reference {
        let left = measured.get(next..).unwrap_or_default();
        let after = left.partition_point(|sample| sample.time_us < reference.time_us);
        let distance = |at: usize| left.get(at).map(|sample| sample.time_us.abs_diff(reference.time_us));
        let nearest = [after.checked_sub(1), Some(after)].into_iter().flatten();
        let nearest = nearest.filter_map(|at| Some((distance(at)?, at))).min();
        if let Some((distance, at)) = nearest
            && distance <= within_us.unsigned_abs()
            && let Some(sample) = left.get(at)
        {
            pairs.push(Pair { measured: sample.value, reference: reference.value });
            next += at + 1;
        }
    }
    pairs
}

/// Reads a table of comma-separated values whose first line names its columns. The error names the line.
pub fn read_csv(text: &str) -> Result<Table, String> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let (_, header) = lines.next().ok_or("the file is empty")?;
    let names: Vec<String> = header.split(',').map(|name| name.trim().trim_matches('"').to_lowercase()).collect();
    let column = |name: &str| names.iter().position(|known| known == name);
    let reference = column("reference").ok_or_else(|| no_columns(header))?;
    let (other, is_time) = match (column("measured"), column("time")) {
        (Some(measured), _) => (measured, false),
        (None, Some(time)) => (time, true),
        (None, None) => return Err(no_columns(header)),
    };
    let mut pairs = Vec::new();
    let mut samples = Vec::new();
    for (index, line) in lines {
        let cells: Vec<&str> = line.split(',').map(|cell| cell.trim().trim_matches('"')).collect();
        let cell = |at: usize| cells.get(at).copied().unwrap_or_default();
        let wrong =
            |at: usize, what: &str| format!("line {}: \"{}\" is no {what}", index + 1, cell(at).escape_default());
        let number = |at: usize| {
            let number = cell(at).parse().ok().filter(|number: &f64| number.is_finite());
            number.ok_or_else(|| wrong(at, "number"))
        };
        if is_time {
            let time_us = time(cell(other)).ok_or_else(|| wrong(other, "time in RFC 3339 or seconds since 1970"))?;
            samples.push(Sample { time_us, value: number(reference)? });
        } else {
            pairs.push(Pair { measured: number(other)?, reference: number(reference)? });
        }
    }
    Ok(if is_time { Table::Reference(samples) } else { Table::Pairs(pairs) })
}

fn no_columns(header: &str) -> String {
    format!(
        "the first line must name the columns measured,reference or time,reference; it is \"{}\"",
        header.chars().take(60).collect::<String>().escape_default()
    )
}

fn time(text: &str) -> Option<i64> {
    parse_rfc3339(text).or_else(|| {
        let seconds = text.parse().ok().filter(|seconds: &f64| seconds.is_finite())?;
        // The cast saturates.
        Some((seconds * 1e6) as i64)
    })
}

/// What is needed of a line of `magpie sub --json`.
#[derive(Deserialize)]
pub struct Recorded {
    path: String,
    value: Option<f64>,
    raw: Option<f64>,
    flag: String,
    time: Option<String>,
    sensor: Option<String>,
}

/// What a sensor said, of lines of `magpie sub --json`: its good values as they were measured, and the places of the sensors that they
/// come from. Lines that are something else are passed over.
pub fn read_recorded(text: &str, is_wanted: impl Fn(&str) -> bool, quantity: &str) -> (Vec<Sample>, Vec<String>) {
    let (mut samples, mut sensors) = (Vec::new(), Vec::new());
    for line in text.lines().filter_map(|line| serde_json::from_str::<Recorded>(line).ok()) {
        let Some((node, of)) = line.path.rsplit_once('/') else { continue };
        let Some(sensor) = line.sensor.filter(|sensor| of == quantity && is_wanted(sensor)) else { continue };
        let place = format!("{sensor} of {node}");
        let time = line.time.as_deref().and_then(parse_rfc3339);
        if let (Some(time_us), Some(value), "good") = (time, line.raw.or(line.value), line.flag.as_str()) {
            samples.push(Sample { time_us, value });
            if !sensors.contains(&place) {
                sensors.push(place);
            }
        }
    }
    (samples, sensors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[(i64, f64)]) -> Vec<Sample> {
        values.iter().map(|&(seconds, value)| Sample { time_us: seconds * 1_000_000, value }).collect()
    }

    #[test]
    fn the_nearest_in_time_are_a_pair_and_none_is_used_twice() {
        let measured = samples(&[(100, 1.0), (110, 2.0), (120, 3.0), (200, 9.0)]);
        let reference = samples(&[(119, 30.0), (101, 10.0), (121, 31.0), (160, 50.0)]);
        let pair = |measured, reference| Pair { measured, reference };
        let expected = [pair(1.0, 10.0), pair(3.0, 30.0)];
        assert_eq!(matched(&measured, &reference, 5_000_000), expected);
        assert!(matched(&[], &reference, 5_000_000).is_empty());
        assert!(matched(&measured, &samples(&[(i64::MAX / 1_000_000, 1.0)]), 5_000_000).is_empty());
    }

    #[test]
    fn a_table_says_by_its_first_line_what_it_is() {
        let table = read_csv("Measured, Reference\n21.5,20.4\n\n\"22.5\",\"21.2\"\n").unwrap();
        let pair = |measured, reference| Pair { measured, reference };
        assert_eq!(table, Table::Pairs(vec![pair(21.5, 20.4), pair(22.5, 21.2)]));
        let table = read_csv("station,time,reference\nA,1970-01-01T00:01:40Z,7\nA,160,8\n").unwrap();
        assert_eq!(table, Table::Reference(samples(&[(100, 7.0), (160, 8.0)])));
    }

    #[test]
    fn what_is_wrong_with_a_table_is_said_with_its_line() {
        for (text, says) in [
            ("", "the file is empty"),
            ("a,b\n1,2", "must name the columns measured,reference or time,reference"),
            ("measured,reference\n1,2\n3,x\n", "line 3: \"x\" is no number"),
            ("measured,reference\n1\n", "line 2: \"\" is no number"),
            ("time,reference\nnoon,2\n", "line 2: \"noon\" is no time"),
            ("measured,reference\nnan,2\n", "line 2: \"nan\" is no number"),
        ] {
            let error = read_csv(text).unwrap_err();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }

    #[test]
    fn of_recorded_lines_the_good_measured_values_count() {
        let line = |time: &str, value: &str, raw: &str, flag: &str, sensor: &str| {
            format!(
                "{{\"path\":\"a/b/c/co2\",\"value\":{value},\"unit\":\"ppm\",\"raw\":{raw},\"flag\":\"{flag}\",\
                 \"time\":{time},\"sensor\":\"{sensor}\"}}\n"
            )
        };
        let at = "\"1970-01-01T00:01:40Z\"";
        let text = [
            line(at, "430.0", "400.0", "good", "SCD4x@i2c-1/0x62"),
            line(at, "410", "null", "good", "SCD4x@i2c-1/0x62"),
            line(at, "500", "null", "suspect", "SCD4x@i2c-1/0x62"),
            line(at, "600", "null", "good", "SCD30@i2c-1/0x61"),
            line("null", "700", "null", "good", "SCD4x@i2c-1/0x62"),
            line(at, "null", "null", "missing", "SCD4x@i2c-1/0x62"),
            "magpie: no line\n".to_owned(),
        ]
        .concat();
        let (found, sensors) = read_recorded(&text, |sensor| sensor.starts_with("SCD4x"), "co2");
        assert_eq!(found, samples(&[(100, 400.0), (100, 410.0)]));
        assert_eq!(sensors, ["SCD4x@i2c-1/0x62 of a/b/c"]);
    }
}
