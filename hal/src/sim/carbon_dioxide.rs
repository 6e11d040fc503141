//! What the air's pressure does to a chip that measures CO2 by its absorption of infrared light, as SCD30 and SCD4x do.

use reading::Quantity;

use super::device::Moment;

/// What such a chip takes the air's pressure for that was told none, in hPa (SCD30 interface description, section 1.4.1).
const STANDARD_HPA: f64 = 1_013.25;

/// The concentration that it finds, in ppm, where it was told this pressure, in hPa, or none, which is 0. It sees how many molecules
/// are in its way, and takes that for a share of all those that air of the told pressure has.
pub(super) fn seen(at: &Moment<'_>, told_hpa: u16) -> f64 {
    let told_hpa = if told_hpa == 0 { STANDARD_HPA } else { told_hpa.into() };
    at.air(Quantity::CO2) * at.air(Quantity::PRESSURE) / 100.0 / told_hpa
}
