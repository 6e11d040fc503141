//! What the world around a chip is, and what a chip with stuck data keeps seeing instead.

use reading::Quantity;

/// The values of a chip's quantities, in the quantities' units.
pub(super) struct Ambient {
    values: Vec<(Quantity, f64)>,
    frozen: Option<Vec<(Quantity, f64)>>,
}

impl Ambient {
    pub(super) fn new<'a>(quantities: impl Iterator<Item = &'a Quantity>) -> Self {
        Self { values: quantities.map(|quantity| (*quantity, clean_air(*quantity))).collect(), frozen: None }
    }

    /// Returns whether the quantity is one that the chip measures or feels, and the value finite.
    pub(super) fn set(&mut self, quantity: Quantity, value: f64) -> bool {
        match self.values.iter_mut().find(|(known, _)| *known == quantity) {
            Some((_, kept)) if value.is_finite() => {
                *kept = value;
                true
            }
            _ => false,
        }
    }

    pub(super) fn get(&self, quantity: Quantity) -> Option<f64> {
        value_of(&self.values, quantity)
    }

    /// What the chip's sensing elements see; NaN for what the chip neither measures nor feels.
    pub(super) fn sensed(&self, quantity: Quantity) -> f64 {
        value_of(self.frozen.as_ref().unwrap_or(&self.values), quantity).unwrap_or(f64::NAN)
    }

    /// From now on the sensing elements see what they see now, or the world again.
    pub(super) fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen.then(|| self.frozen.take().unwrap_or_else(|| self.values.clone()));
    }
}

fn value_of(values: &[(Quantity, f64)], quantity: Quantity) -> Option<f64> {
    values.iter().find(|(known, _)| *known == quantity).map(|(_, value)| *value)
}

/// A room that was aired well; NaN for a quantity that no chip here measures.
fn clean_air(quantity: Quantity) -> f64 {
    match quantity {
        Quantity::TEMPERATURE => 20.0,
        Quantity::HUMIDITY => 50.0,
        Quantity::PRESSURE => 101_325.0,
        Quantity::PM1 => 5.0,
        Quantity::PM2_5 => 8.0,
        Quantity::PM4 => 10.0,
        Quantity::PM10 => 12.0,
        Quantity::CO2 | Quantity::ECO2 => 420.0,
        Quantity::TVOC => 20.0,
        // The averages that Sensirion's gas index algorithm learns are 100 and 1 by definition.
        Quantity::VOC_INDEX => 100.0,
        Quantity::NOX_INDEX => 1.0,
        Quantity::GAS_RESISTANCE => 120_000.0,
        _ => f64::NAN,
    }
}
