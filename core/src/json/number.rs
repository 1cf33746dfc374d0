//! Numbers of JSON that are kept exactly as written, or not at all.

use serde_json::Number;

/// A double keeps any decimal with this many digits.
const DIGITS_SAFE: usize = 15;

/// Returns the number nearest to a text of JSON's grammar, and whether it is the same; `None` beyond the largest double.
pub(super) fn nearest(text: &str) -> Option<(Number, bool)> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some((whole.into(), true));
    }
    if let Ok(whole) = text.parse::<u64>() {
        return Some((whole.into(), true));
    }
    let double: f64 = text.parse().ok()?;
    let number = Number::from_f64(double)?;
    // With few digits and no exponent nothing can be lost.
    let short = text.len() <= DIGITS_SAFE && !text.contains(['e', 'E']);
    Some((number, short || canonical(text) == canonical(&format!("{double:e}"))))
}

/// Returns the significant digits, and the power of ten of the last one.
fn canonical(number: &str) -> Option<(String, i64)> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let significant = digits.trim_start_matches('0');
    let trimmed = significant.trim_end_matches('0');
    if trimmed.is_empty() {
        return Some((String::new(), 0));
    }
    let dropped = i64::try_from(significant.len() - trimmed.len()).ok()?;
    let power = exponent.parse::<i64>().ok()?.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    Some((trimmed.to_owned(), power.checked_add(dropped)?))
}
