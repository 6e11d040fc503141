//! What a temperature that is not the air's does to relative humidity.

/// What `percent` %RH at `celsius` is at another temperature, as the water in the air stays.
pub(super) fn moved(percent: f64, celsius: f64, to_celsius: f64) -> f64 {
    percent * saturation(celsius) / saturation(to_celsius)
}

/// The saturation vapour pressure over water at so many Cel, relative to that at 0 Cel (Magnus, WMO-No. 8 annex 4.B).
fn saturation(celsius: f64) -> f64 {
    let celsius = celsius.clamp(-60.0, 150.0);
    (17.62 * celsius / (243.12 + celsius)).exp()
}
