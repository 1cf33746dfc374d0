//! Codes that change with time: RFC 6238 with SHA-1, six digits and steps of 30 seconds, which is what the programs on
//! telephones make.

use ring::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key, sign};

/// How long a code is shown, in seconds.
pub const STEP_SECONDS: u64 = 30;

/// How many steps a clock may be wrong, both ways.
const STEPS_OFF: u64 = 1;

/// How many digits a code has.
const DIGITS: usize = 6;

/// The letters of base 32 (RFC 4648).
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The code of a step of time: how many times [`STEP_SECONDS`] have passed since 1970.
pub fn code(secret: &[u8], step: u64) -> String {
    let key = Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = sign(&key, &step.to_be_bytes());
    let bytes = tag.as_ref();
    // RFC 4226: the last four bits say where the number begins.
    let at = usize::from(bytes.last().copied().unwrap_or_default() & 0x0f);
    let number = bytes.iter().skip(at).take(4).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    format!("{:0DIGITS$}", (number & 0x7fff_ffff) % 1_000_000)
}

/// The step of time of a code that is shown at an instant, in seconds since 1970. `None` when it is no code of then, or one
/// of a step that is not after the `last` one that was used.
pub(super) fn step_of(secret: &[u8], shown: &str, now: u64, last: u64) -> Option<u64> {
    let current = now / STEP_SECONDS;
    let steps = current.saturating_sub(STEPS_OFF)..=current.saturating_add(STEPS_OFF);
    // All of them are compared, in a time that does not show which one fits.
    steps.fold(None, |found, step| {
        let fits = is_same(&code(secret, step), shown) & (step > last);
        if fits { Some(step) } else { found }
    })
}

fn is_same(one: &str, other: &str) -> bool {
    let differs = one.bytes().zip(other.bytes()).fold(0, |differs, (one, other)| differs | (one ^ other));
    one.len() == other.len() && differs == 0
}

/// Whether a text has the form of a code; blanks between its digits, as some programs show them, do not count.
pub(super) fn as_code(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    (digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
}

/// Bytes in base 32, as people type them.
pub(super) fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for group in bytes.chunks(5) {
        let mut bits = [0_u8; 8];
        bits[3..3 + group.len()].copy_from_slice(group);
        let number = u64::from_be_bytes(bits);
        for letter in 0..(group.len() * 8).div_ceil(5) {
            let index = number >> (35 - letter * 5) & 0x1f;
            text.push(char::from(BASE32[usize::try_from(index).unwrap_or_default()]));
        }
    }
    text
}

/// The address that a program on a telephone reads from a square of dots: who issues the codes, for which account.
pub(super) fn uri(secret: &[u8], account: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let account: String = account
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    format!("otpauth://totp/Gristmill:{account}?secret={}&issuer=Gristmill", base32(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of the tables of RFC 4226 and RFC 6238.
    const SECRET: &[u8] = b"12345678901234567890";

    #[test]
    fn the_codes_are_those_of_the_tables_of_rfc_4226_and_rfc_6238() {
        let counters =
            ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"];
        for (step, expected) in (0..).zip(counters) {
            assert_eq!(code(SECRET, step), expected, "{step}");
        }
        // The RFC has eight digits: a code of six has their end.
        for (second, expected) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000_u64, "65353130"),
        ] {
            assert_eq!(code(SECRET, second / STEP_SECONDS), expected[2..], "{second}");
        }
    }

    #[test]
    fn a_code_is_taken_within_a_step_both_ways_and_never_after_a_later_one() {
        let now = 1_111_111_109;
        let step = now / STEP_SECONDS;
        for off in [step - 1, step, step + 1] {
            assert_eq!(step_of(SECRET, &code(SECRET, off), now, 0), Some(off));
        }
        for off in [step - 2, step + 2, 0] {
            assert_eq!(step_of(SECRET, &code(SECRET, off), now, 0), None, "{off}");
        }
        let shown = code(SECRET, step);
        assert_eq!(step_of(SECRET, &shown, now, step), None, "it was used");
        assert_eq!(step_of(SECRET, &shown, now, step - 1), Some(step));
        assert_eq!(step_of(SECRET, &code(SECRET, step - 1), now, step), None, "an earlier one as well");
        for odd in ["", "1", "07081804", "0708 4", "٠٨١٨٠٤"] {
            assert_eq!(step_of(SECRET, odd, now, 0), None, "{odd}");
        }
    }

    #[test]
    fn codes_may_be_typed_with_blanks_and_are_digits_alone() {
        assert_eq!(as_code(" 081 804 ").as_deref(), Some("081804"));
        for odd in ["08180", "0818044", "08180a", "-81804", "٠٨١٨٠٤"] {
            assert_eq!(as_code(odd), None, "{odd}");
        }
    }

    #[test]
    fn base_32_is_that_of_rfc_4648_without_its_padding() {
        for (text, expected) in
            [("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foob", "MZXW6YQ"), ("fooba", "MZXW6YTB")]
        {
            assert_eq!(base32(text.as_bytes()), expected);
        }
        assert_eq!(base32(SECRET), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        let uri = uri(SECRET, "ada+x@example.com");
        assert!(uri.starts_with("otpauth://totp/Gristmill:ada%2Bx%40example.com?secret=GEZDG"), "{uri}");
    }
}
