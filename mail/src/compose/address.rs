//! Mailboxes: one address each, which a mail server cannot misread.

use lettre::Address;
use lettre::message::Mailbox;
use sha2::{Digest, Sha256};
use url::Host;

/// The longest address (RFC 5321, 4.5.3.1.3: a path of 256 octets has two brackets).
const ADDRESS_BYTES_MAX: usize = 254;

/// Reads one mailbox, `name@example.com` or `Name <name@example.com>`. `what` names it in the error. A domain that is
/// not ASCII becomes what DNS has for it (`xn--…`), so that only a local part outside of ASCII needs SMTPUTF8.
///
/// # Errors
///
/// When it is anything else, several, or holds a control character: a text without the address.
pub fn mailbox(what: &str, text: &str) -> Result<Mailbox, String> {
    one_line(what, text)?;
    let (name, address) = match text.trim().strip_suffix('>').map(|rest| rest.rsplit_once('<')) {
        Some(Some((name, address))) => (name.trim().trim_matches('"').trim(), address),
        Some(None) => return Err(not_a_mailbox(what)),
        None => ("", text),
    };
    let address: Address = address.trim().parse().map_err(|_| not_a_mailbox(what))?;
    // A space or a bracket inside would end the address early in the SMTP command.
    if address.to_string().contains([' ', '<', '>', ',', '\t']) {
        return Err(not_a_mailbox(what));
    }
    let address = in_dns(address).ok_or_else(|| not_a_mailbox(what))?;
    if AsRef::<str>::as_ref(&address).len() > ADDRESS_BYTES_MAX {
        return Err(format!("{what} has more than {ADDRESS_BYTES_MAX} bytes, which no mail server takes"));
    }
    Ok(Mailbox::new((!name.is_empty()).then(|| name.to_owned()), address))
}

/// The address with its domain as DNS has it.
fn in_dns(address: Address) -> Option<Address> {
    if address.domain().is_ascii() {
        return Some(address);
    }
    let host = Host::parse(address.domain()).ok()?;
    Address::new(address.user(), host.to_string()).ok()
}

/// What two spellings of one address have in common: trimmed, its domain as DNS has it and in lower case, its local
/// part in lower case as well. RFC 5321 lets local parts differ by case alone; no mail service of today does, and a
/// person who asked for no more mail must not get more because of a capital. `None` when it is no address.
pub fn canonical(address: &str) -> Option<String> {
    let mailbox = mailbox("", address).ok()?;
    let (user, domain) = (mailbox.email.user().to_lowercase(), mailbox.email.domain().to_ascii_lowercase());
    Some(format!("{user}@{domain}"))
}

/// The SHA-256 of an address in its [`canonical`] form: by it an address is found without being kept. What is no address
/// has the hash of its trimmed text.
pub fn address_hash(address: &str) -> [u8; 32] {
    Sha256::digest(canonical(address).unwrap_or_else(|| address.trim().to_owned())).into()
}

fn not_a_mailbox(what: &str) -> String {
    format!("{what} is not one address; write `name@example.com` or `Name <name@example.com>`")
}

/// Checks that a text is one line without control characters. `what` names it in the error.
///
/// # Errors
///
/// When it is not: a text that names the character, and not what stands around it.
pub fn one_line(what: &str, text: &str) -> Result<(), String> {
    match text.chars().find(|c| c.is_control()) {
        None => Ok(()),
        Some(c) => Err(format!(
            "{what} holds the control character U+{:04X}; it must be one line of text, or it could add headers of its own",
            u32::from(c)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_is_one_address() {
        for text in
            ["", "a", "a@b.example, c@d.example", "a@b.example> SIZE=1 <x", "<a@b.example", "<>", "a b@c.example"]
        {
            mailbox("`to`", text).expect_err(text);
        }
        let quoted = mailbox("`to`", "\"Doe, Jo\" <jo@b.example>").expect("a quoted name");
        assert_eq!(quoted.name.as_deref(), Some("Doe, Jo"));
    }

    #[test]
    fn nothing_can_add_a_header() {
        for text in ["a@b.example\r\nBcc: x@y.example", "a\nb@c.example", "\0@b.example", "N\r\nX: y <a@b.example>"] {
            let error = mailbox("`to`", text).expect_err(text);
            assert!(error.contains("control character") && !error.contains("example"), "{error}");
        }
    }

    #[test]
    fn a_domain_is_written_as_dns_has_it_and_a_local_part_stays() {
        let mailbox = |text| mailbox("`to`", text).expect(text).email.to_string();
        assert_eq!(mailbox("jo@bücher.example"), "jo@xn--bcher-kva.example");
        assert_eq!(mailbox("jürgen@BÜCHER.example"), "jürgen@xn--bcher-kva.example");
        let long = format!("{}@{}.example", "a".repeat(60), "b.".repeat(120).trim_end_matches('.'));
        super::mailbox("`to`", &long).expect_err("too long");
    }

    #[test]
    fn two_spellings_of_one_address_are_one() {
        for text in ["Ada@Example.ORG", " ada@example.org ", "Ada <ADA@example.org>"] {
            assert_eq!(canonical(text).as_deref(), Some("ada@example.org"), "{text}");
        }
        assert_eq!(canonical("jo@BÜCHER.example"), canonical("jo@xn--bcher-kva.example"));
        assert_eq!(canonical("no address"), None);
    }
}
