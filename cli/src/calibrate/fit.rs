//! The line through pairs of a measured and a reference value, and whether it deserves to be used.

use reading::Quantity;

/// What a sensor said, and what it should have said at the same time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// As the chip measured it.
    pub measured: f64,
    /// As the reference has it.
    pub reference: f64,
}

/// Fewer pairs than this are an accident.
pub const LEAST_PAIRS: usize = 10;

/// A slope that is known worse than this, one standard error, is noise.
const SLOPE_ERROR: f64 = 0.05;
/// Two instruments that measure the same thing differ by no more than this factor.
const SLOPES: std::ops::RangeInclusive<f64> = 0.3..=3.0;

/// reference = slope * measured + offset, by least squares.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Pairs.
    pub pairs: usize,
    /// 1 where only an offset was fitted.
    pub slope: f64,
    /// In the quantity's unit.
    pub offset: f64,
    /// The share of the reference's variance that the line explains; `None` where there is no slope to explain it by.
    pub r2: Option<f64>,
    /// Root mean square of reference - measured.
    pub rmse_before: f64,
    /// The same after the correction, over the same pairs.
    pub rmse_after: f64,
    /// Why there is no slope, where there is none.
    pub why_no_slope: Option<String>,
}

/// Fits a line where the pairs allow one, else an offset. The error says what is missing.
pub fn fit(quantity: Quantity, pairs: &[Pair]) -> Result<Fit, String> {
    if pairs.len() < LEAST_PAIRS {
        return Err(format!(
            "{} pairs are too few, {LEAST_PAIRS} are wanted: compare for longer with --for, or allow more time between values with --within",
            pairs.len()
        ));
    }
    let line = least_squares(pairs);
    match line.ok_or_else(|| "the sensor always said the same".to_owned()).and_then(|line| judge(quantity, pairs, line))
    {
        Ok(Line { slope, offset, .. }) => Ok(evaluate(pairs, slope, offset, None)),
        Err(why) => {
            let offset = mean(pairs.iter().map(|pair| pair.reference - pair.measured));
            Ok(evaluate(pairs, 1.0, offset, Some(why)))
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Line {
    slope: f64,
    offset: f64,
    /// One standard error of the slope.
    error: f64,
}

/// `None` where the measured values do not differ.
fn least_squares(pairs: &[Pair]) -> Option<Line> {
    let (x, y) = (mean(pairs.iter().map(|pair| pair.measured)), mean(pairs.iter().map(|pair| pair.reference)));
    let sxx: f64 = pairs.iter().map(|pair| (pair.measured - x).powi(2)).sum();
    let sxy: f64 = pairs.iter().map(|pair| (pair.measured - x) * (pair.reference - y)).sum();
    if sxx <= 0.0 {
        return None;
    }
    let slope = sxy / sxx;
    let offset = y - slope * x;
    let residuals: f64 = pairs.iter().map(|pair| (pair.reference - slope * pair.measured - offset).powi(2)).sum();
    let error = (residuals / (pairs.len() as f64 - 2.0) / sxx).sqrt();
    Some(Line { slope, offset, error })
}

fn judge(quantity: Quantity, pairs: &[Pair], line: Line) -> Result<Line, String> {
    let (least, most) = pairs.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), pair| {
        (least.min(pair.reference), most.max(pair.reference))
    });
    let (spread, wanted) = (most - least, least_spread(quantity));
    let unit = quantity.unit();
    if spread < wanted {
        return Err(format!("the reference moved by {spread:.3} {unit} only; a slope wants {wanted} {unit}"));
    }
    if line.error > SLOPE_ERROR {
        return Err(format!("the slope would be {:.2} +- {:.2}, which is noise", line.slope, line.error));
    }
    if !SLOPES.contains(&line.slope) {
        return Err(format!("a slope of {:.2} says that the two do not measure the same", line.slope));
    }
    Ok(line)
}

/// A line that was found over less than this is used far outside of where it was found.
fn least_spread(quantity: Quantity) -> f64 {
    match quantity {
        Quantity::TEMPERATURE => 5.0,
        Quantity::HUMIDITY => 20.0,
        Quantity::PRESSURE => 1_000.0,
        Quantity::CO2 | Quantity::ECO2 => 300.0,
        Quantity::PM1 | Quantity::PM2_5 | Quantity::PM4 | Quantity::PM10 => 15.0,
        Quantity::VOC_INDEX | Quantity::NOX_INDEX => 50.0,
        Quantity::TVOC => 200.0,
        _ => 0.0,
    }
}

fn evaluate(pairs: &[Pair], slope: f64, offset: f64, why_no_slope: Option<String>) -> Fit {
    let rmse = |corrected: &dyn Fn(f64) -> f64| {
        mean(pairs.iter().map(|pair| (pair.reference - corrected(pair.measured)).powi(2))).sqrt()
    };
    let (rmse_before, rmse_after) = (rmse(&|measured| measured), rmse(&|measured| slope * measured + offset));
    let y = mean(pairs.iter().map(|pair| pair.reference));
    let variance = mean(pairs.iter().map(|pair| (pair.reference - y).powi(2)));
    let r2 = why_no_slope.is_none().then(|| 1.0 - rmse_after.powi(2) / variance);
    Fit { pairs: pairs.len(), slope, offset, r2, rmse_before, rmse_after, why_no_slope }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(values: &[(f64, f64)]) -> Vec<Pair> {
        values.iter().map(|&(measured, reference)| Pair { measured, reference }).collect()
    }

    /// Anscombe's first quartet (The American Statistician 27, 17, 1973): y = 0.5 x + 3.0, R2 0.667, slope's error 0.118.
    #[test]
    fn least_squares_as_published() {
        let quartet = pairs(&[
            (10.0, 8.04),
            (8.0, 6.95),
            (13.0, 7.58),
            (9.0, 8.81),
            (11.0, 8.33),
            (14.0, 9.96),
            (6.0, 7.24),
            (4.0, 4.26),
            (12.0, 10.84),
            (7.0, 4.82),
            (5.0, 5.68),
        ]);
        let Line { slope, offset, error } = least_squares(&quartet).unwrap();
        assert!((slope - 0.500_09).abs() < 1e-5 && (offset - 3.000_09).abs() < 1e-5, "{slope} {offset}");
        assert!((error - 0.117_9).abs() < 1e-4, "{error}");
        let r2 = evaluate(&quartet, slope, offset, None).r2.unwrap();
        assert!((r2 - 0.666_54).abs() < 1e-5, "{r2}");
    }

    /// NIST's Norris data (Statistical Reference Datasets, linear regression): an ozone monitor against its standard. Certified: slope
    /// 1.00211681802045 +- 0.000429796848199937, offset -0.262323073774029, R2 0.999993745883712.
    #[test]
    fn least_squares_as_certified() {
        let norris = pairs(&[
            (0.2, 0.1),
            (337.4, 338.8),
            (118.2, 118.1),
            (884.6, 888.0),
            (10.1, 9.2),
            (226.5, 228.1),
            (666.3, 668.5),
            (996.3, 998.5),
            (448.6, 449.1),
            (777.0, 778.9),
            (558.2, 559.2),
            (0.4, 0.3),
            (0.6, 0.1),
            (775.5, 778.1),
            (666.9, 668.8),
            (338.0, 339.3),
            (447.5, 448.9),
            (11.6, 10.8),
            (556.0, 557.7),
            (228.1, 228.3),
            (995.8, 998.0),
            (887.6, 888.8),
            (120.2, 119.6),
            (0.3, 0.3),
            (0.3, 0.6),
            (556.8, 557.6),
            (339.1, 339.3),
            (887.2, 888.0),
            (999.0, 998.5),
            (779.0, 778.9),
            (11.1, 10.2),
            (118.3, 117.6),
            (229.2, 228.9),
            (669.1, 668.4),
            (448.9, 449.2),
            (0.5, 0.2),
        ]);
        let error = least_squares(&norris).unwrap().error;
        assert!((error - 0.000_429_796_848).abs() < 1e-11, "{error}");
        let fit = fit(Quantity::CO2, &norris).unwrap();
        assert!((fit.slope - 1.002_116_818_02).abs() < 1e-10, "{fit:?}");
        assert!((fit.offset + 0.262_323_073_77).abs() < 1e-9, "{fit:?}");
        assert!((fit.r2.unwrap() - 0.999_993_745_88).abs() < 1e-10, "{fit:?}");
        assert!(fit.why_no_slope.is_none() && fit.rmse_after < fit.rmse_before, "{fit:?}");
    }

    #[test]
    fn one_reference_value_gives_an_offset() {
        let beside: Vec<Pair> =
            (0..30).map(|index| Pair { measured: 22.6 + 0.01 * f64::from(index % 3), reference: 21.4 }).collect();
        let fit = fit(Quantity::TEMPERATURE, &beside).unwrap();
        assert!((fit.offset + 1.21).abs() < 1e-9 && fit.slope == 1.0 && fit.r2.is_none(), "{fit:?}");
        assert!(fit.why_no_slope.unwrap().contains("the reference moved by 0.000 Cel only; a slope wants 5 Cel"));
        assert!((fit.rmse_before - 1.21).abs() < 0.001 && fit.rmse_after < 0.01);
        let stuck = pairs(&[(20.0, 21.0); 12]);
        assert!(
            super::fit(Quantity::TEMPERATURE, &stuck).unwrap().why_no_slope.unwrap().contains("always said the same")
        );
    }

    #[test]
    fn noise_and_another_quantity_give_no_slope() {
        let noise: Vec<Pair> = (0..40)
            .map(|index| Pair { measured: 20.0 + f64::from(index % 7), reference: 20.0 + f64::from(index % 5) * 2.0 })
            .collect();
        assert!(fit(Quantity::TEMPERATURE, &noise).unwrap().why_no_slope.unwrap().contains("is noise"));
        let inverse: Vec<Pair> =
            (0..40).map(|index| Pair { measured: f64::from(index), reference: 60.0 - f64::from(index) }).collect();
        let why = fit(Quantity::TEMPERATURE, &inverse).unwrap().why_no_slope.unwrap();
        assert!(why.contains("do not measure the same"), "{why}");
    }

    #[test]
    fn too_few_pairs_are_refused_with_words() {
        let error = fit(Quantity::TEMPERATURE, &pairs(&[(20.0, 21.0); 9])).unwrap_err();
        assert!(error.contains("9 pairs are too few, 10 are wanted"), "{error}");
        assert!(fit(Quantity::TEMPERATURE, &[]).unwrap_err().contains("0 pairs"));
    }
}
