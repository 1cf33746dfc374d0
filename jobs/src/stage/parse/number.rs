//! How numbers and money are written: which sign separates decimals, and which separates thousands.

use gristmill_core::aggregate::{decimal, decimal_text};
use gristmill_core::definition::{ParseRule, ParseType};
use rust_decimal::Decimal;
use serde_json::Value;

/// The most digits of an integer: any number with 18 digits fits into 64 bits.
const INTEGER_DIGITS_MAX: usize = 18;

/// Codes that people write for hundredths of a currency, such as pence: taken for the currency, they would be wrong by
/// a factor of a hundred.
const MINOR_UNITS: [&str; 5] = ["EUX", "GBX", "ILA", "USX", "ZAC"];

/// Which signs are used in numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notation {
    point: char,
    thousands: Option<char>,
}

impl Default for Notation {
    fn default() -> Self {
        Self { point: '.', thousands: None }
    }
}

impl Notation {
    pub(super) fn of(rule: &ParseRule) -> Result<Self, String> {
        let number = matches!(rule.kind, ParseType::Integer | ParseType::Decimal | ParseType::Money);
        if !number && (rule.decimal_point.is_some() || rule.thousands.is_some()) {
            return Err("`decimal_point` and `thousands` belongs to the types `integer`, `decimal` and `money`".into());
        }
        let point = rule.decimal_point.as_deref().map(|text| sign("decimal_point", text)).transpose()?.unwrap_or('.');
        let thousands = rule.thousands.as_deref().map(|text| sign("thousands", text)).transpose()?;
        if thousands == Some(point) {
            return Err(format!("`decimal_point` and `thousands` are the same sign, `{point}`"));
        }
        Ok(Self { point, thousands })
    }

    pub(super) fn integer(self, text: &str) -> Option<i64> {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        if (1..=INTEGER_DIGITS_MAX).contains(&unsigned.len()) && unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok();
        }
        let digits = self.whole(text.trim_start_matches(['-', '+']))?;
        if digits.len() > INTEGER_DIGITS_MAX {
            return None;
        }
        let negative = text.starts_with('-');
        digits
            .parse::<i64>()
            .ok()
            .map(|number| if negative { -number } else { number })
            .filter(|_| text.len() - text.trim_start_matches(['-', '+']).len() <= 1)
    }

    pub(super) fn decimal(self, text: &str) -> Option<Decimal> {
        if self.point == '.' && is_plain(text) {
            return decimal_text(text);
        }
        let (number, exponent) = match text.find(['e', 'E']) {
            Some(place) => text.split_at(place),
            None => (text, ""),
        };
        let (whole, fraction) = match number.split_once(self.point) {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (number, None),
        };
        let unsigned = whole.trim_start_matches(['-', '+']);
        let digits = self.whole(unsigned)?;
        let sign = &whole[..whole.len() - unsigned.len()];
        let fraction = match fraction {
            Some(fraction) if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) => {
                return None;
            }
            Some(fraction) => format!(".{fraction}"),
            None => String::new(),
        };
        let plain = format!("{}{digits}{fraction}{exponent}", sign.trim_start_matches('+'));
        (sign.len() <= 1).then(|| decimal(&Value::String(plain))).flatten()
    }

    /// Reads a decimal with a currency sign or a code of three capitals before or after it; brackets around it mean
    /// that it is owed, as accountants write. `50¢` is half of the currency, 0.50; a code of a minor unit is refused.
    pub(super) fn money(self, text: &str) -> Option<Decimal> {
        if let Some(owed) = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
            let amount = self.money(owed.trim()).filter(|amount| !amount.is_sign_negative())?;
            // There is no negative zero: it would be a group of its own.
            return Some(if amount.is_zero() { amount } else { -amount });
        }
        let (sign, rest) = match text.strip_prefix('-') {
            Some(rest) => ("-", rest.trim_start()),
            None => ("", text),
        };
        let (currency, bare) = currency(rest);
        let number = bare.trim();
        // `-£-3` is a typing error, not three pounds.
        if !sign.is_empty() && number.starts_with('-') {
            return None;
        }
        let amount = self.decimal(&format!("{sign}{number}"))?;
        match currency {
            None => Some(amount),
            Some("¢" | "￠") => hundredth(amount),
            Some(code) if MINOR_UNITS.contains(&code) => None,
            Some(_) => Some(amount),
        }
    }

    /// Returns the digits of a whole number. After a sign for thousands exactly three must follow; otherwise `1,5` in a
    /// file with decimal commas would silently become fifteen.
    fn whole(self, text: &str) -> Option<String> {
        let mut groups = match self.thousands {
            Some(sign) => text.split(sign).collect::<Vec<_>>(),
            None => vec![text],
        };
        let first = groups.remove(0);
        let grouped = groups.is_empty() || (1..=3).contains(&first.len());
        let fits = grouped && !first.is_empty() && groups.iter().all(|group| group.len() == 3);
        let digits = format!("{first}{}", groups.concat());
        (fits && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
    }

    /// Formats a number in this notation, for messages.
    pub(super) fn example(self, whole: &str, fraction: Option<&str>) -> String {
        let (head, tail) = whole.split_at(whole.len() - 3);
        let separator = self.thousands.map(String::from).unwrap_or_default();
        let fraction = fraction.map(|digits| format!("{}{digits}", self.point)).unwrap_or_default();
        format!("{head}{separator}{tail}{fraction}")
    }
}

/// Whether a number is nothing but digits, with a sign before them at most and one point among them.
fn is_plain(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match unsigned.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(unsigned),
    }
}

fn sign(key: &str, text: &str) -> Result<char, String> {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(sign), None) if !sign.is_ascii_alphanumeric() && !"+-".contains(sign) => Ok(sign),
        _ => Err(format!("`{key}` is `{text}`; it must be one character such as `,` or `.`")),
    }
}

/// Returns the currency's sign or code before or after a number, and the number.
fn currency(text: &str) -> (Option<&str>, &str) {
    let sign = |place: usize| text[place..].chars().next().filter(|sign| is_currency_sign(*sign)).map(char::len_utf8);
    let last = text.char_indices().next_back().map_or(0, |(place, _)| place);
    if let Some(length) = sign(0) {
        return (Some(&text[..length]), &text[length..]);
    }
    if sign(last).is_some() {
        return (Some(&text[last..]), &text[..last]);
    }
    for (head, tail) in [(0, 3), (text.len().wrapping_sub(3), text.len())] {
        let code = text.get(head..tail).filter(|code| code.bytes().all(|byte| byte.is_ascii_uppercase()));
        if code.is_some() {
            return (code, if head == 0 { &text[3..] } else { &text[..head] });
        }
    }
    (None, text)
}

/// The amount in hundredths, if it can be written with the digits that a decimal has.
fn hundredth(amount: Decimal) -> Option<Decimal> {
    Decimal::try_from_i128_with_scale(amount.mantissa(), amount.scale() + 2).ok().map(|amount| amount.normalize())
}

fn is_currency_sign(character: char) -> bool {
    matches!(character, '$' | '¢' | '£' | '¤' | '¥' | '￠' | '\u{20A0}'..='\u{20CF}')
}
