//! Texts that are obeyed: a terminal, a mail server, a spreadsheet, a shell.

use gristmill_testkit::Random;

const PIECES: [&str; 30] = [
    "\u{1b}[2J",
    "\u{1b}]0;owned\u{7}",
    "\u{1b}[6n",
    "\u{9b}31m",
    "\u{7f}\u{8}\u{8}",
    "\r",
    "\n",
    "\r\n",
    "\r\n.\r\n",
    "\r.\r\n",
    "\n.\n",
    "MAIL FROM:<a@evil.example>",
    "\r\nBcc: b@evil.example\r\n",
    "=?utf-8?q?Boss?=",
    "=?utf-8?b?AAAA?=",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "@SUM(A1)",
    "\t=1",
    "'",
    "$(id)",
    "`id`",
    "; id",
    "../../etc/passwd",
    "\u{202e}gpj.exe",
    "\u{2028}",
    "\0",
    "ü€😀",
    "%s%n",
    "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
];

/// A few of them with plain words between, and now and then very long.
pub(crate) fn hostile(random: &mut Random) -> String {
    let count = if random.one_in(20) { 200 } else { 1 + random.index(5) };
    let mut text = String::new();
    for _ in 0..count {
        let piece = *random.pick(&PIECES);
        text.push_str(piece);
        if random.one_in(2) {
            text.push_str("word ");
        }
    }
    text
}

/// The same as the argument of a program, which cannot hold a NUL.
pub(crate) fn argument(random: &mut Random) -> String {
    hostile(random).replace('\0', "0").chars().take(2_000).collect()
}

/// Whether a terminal would obey any of it.
pub(crate) fn obeyed(text: &str) -> Option<char> {
    text.chars().find(|c| (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{202a}'..='\u{202e}'))
}
