//! Medians and other quantiles.

/// The time below which this percentage of the times are.
pub(crate) fn quantile(times: &mut [f64], percent: usize) -> f64 {
    times.sort_by(f64::total_cmp);
    times[(times.len() * percent / 100).min(times.len() - 1)]
}
