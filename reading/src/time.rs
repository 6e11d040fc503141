//! Wall time as people and files write it.

/// RFC 3339 in UTC with milliseconds, of microseconds since 1970; `None` outside the years that RFC 3339 can write.
pub fn rfc3339(time_us: i64) -> Option<String> {
    let time = jiff::Timestamp::from_microsecond(time_us).ok()?;
    // Years beyond 9999 and before 0 are no RFC 3339; jiff ends at 9999 and starts far before 0.
    (time.as_second() >= -62_167_219_200).then(|| format!("{time:.3}"))
}

/// Microseconds since 1970 of a time in RFC 3339, with any offset; `None` of any other text.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_milliseconds() {
        assert_eq!(rfc3339(1_764_000_000_123_456).as_deref(), Some("2025-11-24T16:00:00.123Z"));
        assert_eq!(parse_rfc3339("2025-11-24T16:00:00.123456Z"), Some(1_764_000_000_123_456));
        assert_eq!(parse_rfc3339("2025-11-25T01:00:00+09:00"), Some(1_764_000_000_000_000));
        assert_eq!(parse_rfc3339("yesterday"), None);
        assert_eq!(rfc3339(0).as_deref(), Some("1970-01-01T00:00:00.000Z"));
        assert_eq!(rfc3339(i64::MAX), None);
        assert_eq!(rfc3339(i64::MIN), None);
    }
}
