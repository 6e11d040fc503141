//! Times as people write them.

use std::time::Duration;

use crate::line::now_us;

/// A time, such as 2026-11-24T09:00:00Z, or how long ago, such as 1h; in us since 1970.
pub fn time(text: &str) -> Result<i64, String> {
    if let Some(time_us) = reading::parse_rfc3339(text) {
        return Ok(time_us);
    }
    let ago = humantime::parse_duration(text)
        .map_err(|_| format!("\"{text}\" is no time; write 2026-11-24T09:00:00Z, or how long ago, such as 1h"))?;
    let ago_us = i64::try_from(ago.as_micros()).map_err(|_| format!("\"{text}\" is too long ago"))?;
    Ok(now_us().saturating_sub(ago_us))
}

/// A while, such as 30s or 1h 30m.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| format!("\"{text}\" is no duration; write it like 30s, 10m or 1h 30m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_or_a_while_ago() {
        assert_eq!(time("2026-11-24T09:00:00Z"), Ok(1_795_510_800_000_000));
        let ago = now_us() - time("1h 30m").unwrap();
        assert!((5_390_000_000..5_500_000_000).contains(&ago), "{ago}");
        assert!(time("yesterday").unwrap_err().contains("how long ago, such as 1h"));
        assert!(time("500000000y").is_err());
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(duration("90").unwrap_err().contains("write it like 30s"));
    }
}
