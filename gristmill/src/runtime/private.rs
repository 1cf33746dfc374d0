//! Files that others cannot read: databases, outputs, mails and archives hold what people have sent.

use rustix::fs::Mode;
use rustix::process::umask;

/// What the variable says that gives others more.
const VARIABLE: &str = "GRISTMILL_UMASK";

/// Makes every file that this process creates its user's alone (0600, folders 0700), unless `GRISTMILL_UMASK` says
/// otherwise, such as `027` for a group that reads outputs. For a program's own process only: a program that embeds a
/// worker decides for itself.
pub(crate) fn keep_private() {
    umask(Mode::from_raw_mode(mask(std::env::var(VARIABLE).ok().as_deref()).into()));
}

/// The mask; what cannot be read as one means the strict one.
fn mask(said: Option<&str>) -> u16 {
    const STRICT: u16 = 0o077;
    said.and_then(|text| u16::from_str_radix(text.trim(), 8).ok()).filter(|mask| *mask <= 0o777).unwrap_or(STRICT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_their_users_alone_unless_the_operator_says_otherwise() {
        for (said, expected) in
            [(None, 0o077), (Some("027"), 0o027), (Some("22"), 0o022), (Some("x"), 0o077), (Some("7777"), 0o077)]
        {
            assert_eq!(mask(said), expected, "{said:?}");
        }
    }
}
