//! What the world around a chip is, and what a chip with stuck data keeps seeing instead.

use reading::Quantity;

/// The values of a chip's `N` quantities, in the order in which the chip names them.
pub(super) struct Ambient<const N: usize> {
    quantities: &'static [Quantity; N],
    values: [f64; N],
    frozen: Option<[f64; N]>,
}

impl<const N: usize> Ambient<N> {
    pub(super) fn new(quantities: &'static [Quantity; N], values: [f64; N]) -> Self {
        Self { quantities, values, frozen: None }
    }

    pub(super) fn quantities(&self) -> &'static [Quantity] {
        self.quantities
    }

    /// Returns whether the quantity is one of the chip's and the value finite.
    pub(super) fn set(&mut self, quantity: Quantity, value: f64) -> bool {
        match self.quantities.iter().zip(&mut self.values).find(|(known, _)| **known == quantity) {
            Some((_, kept)) if value.is_finite() => {
                *kept = value;
                true
            }
            _ => false,
        }
    }

    pub(super) fn get(&self, quantity: Quantity) -> Option<f64> {
        self.quantities.iter().zip(self.values).find(|(known, _)| **known == quantity).map(|(_, value)| value)
    }

    /// What the chip's sensing elements see.
    pub(super) fn sensed(&self) -> [f64; N] {
        self.frozen.unwrap_or(self.values)
    }

    /// From now on the sensing elements see what they see now, or the world again.
    pub(super) fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen.then(|| self.sensed());
    }
}
