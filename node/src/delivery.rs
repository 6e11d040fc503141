//! Whether each sensor delivers: what is worth a line is the change.

use reading::{Reading, Reason};

/// By the position in the announcement; `None` before the first turn.
#[derive(Debug, Default)]
pub struct Deliveries(Vec<Option<bool>>);

/// What became of a sensor at its last turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It delivered before and does not now.
    Lost,
    /// It did not deliver before and does now.
    Back,
    /// It does not deliver at its first turn, and not because it has only just been switched on.
    NeverCame,
}

impl Deliveries {
    /// Sensors known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// One more sensor.
    pub fn add(&mut self) {
        self.0.push(None);
    }

    /// Notes a turn.
    pub fn note(&mut self, index: usize, readings: &[Reading]) -> Option<Change> {
        let delivers = readings.iter().any(|reading| reading.value.is_some());
        match (self.0.get_mut(index)?.replace(delivers), delivers) {
            (Some(true), false) => Some(Change::Lost),
            (Some(false), true) => Some(Change::Back),
            (None, false) if !is_starting(readings) => Some(Change::NeverCame),
            _ => None,
        }
    }
}

/// A chip that has only just been switched on has nothing to say yet, which is no fault.
fn is_starting(readings: &[Reading]) -> bool {
    readings.iter().all(|reading| matches!(reading.reason, Reason::WARMING_UP | Reason::NOT_READY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reading::{Flag, Quantity};

    fn turn(value: Option<f32>, reason: Reason) -> [Reading; 1] {
        let flag = if value.is_some() { Flag::GOOD } else { Flag::MISSING };
        [Reading { sensor: 0, quantity: Quantity::CO2, value, raw: None, flag, reason }]
    }

    #[test]
    fn only_changes_are_told() {
        let mut deliveries = Deliveries::default();
        deliveries.add();
        deliveries.add();
        let mut note = |index, value, reason| deliveries.note(index, &turn(value, reason));
        assert_eq!(note(0, None, Reason::WARMING_UP), None);
        assert_eq!(note(0, Some(400.0), Reason::NONE), Some(Change::Back));
        assert_eq!(note(0, Some(401.0), Reason::NONE), None);
        assert_eq!(note(0, None, Reason::NO_ANSWER), Some(Change::Lost));
        assert_eq!(note(0, None, Reason::NO_ANSWER), None);
        assert_eq!(note(1, None, Reason::NO_ANSWER), Some(Change::NeverCame));
        assert_eq!(note(2, None, Reason::NO_ANSWER), None, "nobody knows it");
    }
}
