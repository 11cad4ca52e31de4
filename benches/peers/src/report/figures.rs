//! Figures with three digits and the unit that fits.

/// At least three digits, and no point where there are as many before it.
pub(crate) fn three_digits(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    // Rounded first, so that 0.9996 has as many digits behind the point as 1.
    let size = 10f64.powi(value.abs().log10().floor() as i32 - 2);
    let rounded = (value.abs() / size).round() * size * (1.0 + f64::EPSILON);
    let digits_before = rounded.log10().floor() as i32 + 1;
    let digits_after = (3 - digits_before).clamp(0, 6) as usize;
    let text = format!("{value:.digits_after$}");
    if digits_before > 4 { with_commas(&text) } else { text }
}

/// A whole number with a comma between thousands.
pub(crate) fn whole(number: usize) -> String {
    with_commas(&number.to_string())
}

fn with_commas(digits: &str) -> String {
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn scaled(value: f64, units: &[(&str, f64)]) -> String {
    let fits = |unit: &&(&str, f64)| value < unit.1 * 999.5;
    let last = units.len() - 1;
    let (unit, size) = units.iter().find(fits).unwrap_or(&units[last]);
    format!("{} {unit}", three_digits(value / size))
}

pub(crate) fn nanoseconds(value: f64) -> String {
    scaled(value, &[("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)])
}

pub(crate) fn bytes(value: f64) -> String {
    scaled(value, &[("B", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9)])
}

/// How many times as much, the way it is read: 0.83 ×, 12.3 ×, 450 ×.
pub(crate) fn times(ratio: f64) -> String {
    format!("{} ×", three_digits(ratio))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_the_unit_that_fits() {
        assert_eq!(nanoseconds(612.4), "612 ns");
        assert_eq!(nanoseconds(999.7), "1.00 µs");
        assert_eq!(nanoseconds(12_340.0), "12.3 µs");
        assert_eq!(nanoseconds(90e9), "90.0 s");
        assert_eq!(bytes(2_512_000_000.0), "2.51 GB");
        assert_eq!(three_digits(99.96), "100");
        assert_eq!(three_digits(0.0042), "0.00420");
        assert_eq!(three_digits(1000.0), "1000");
        assert_eq!(times(0.825), "0.825 ×");
        assert_eq!(three_digits(1_234_567.0), "1,234,567");
        assert_eq!(whole(999), "999");
    }
}
