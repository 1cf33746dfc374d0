//! What goes out signed and comes back from strangers: the address for refusals of one message (VERP), and the link by
//! which a recipient takes itself off a stream (RFC 8058).
//!
//! Both say themselves what they are about, and are believed only with our own signature (HMAC-SHA256, cut to 16 bytes):
//! no stranger can make one up, and nothing has to be looked up to know that.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use lettre::Address;
use sha2::Sha256;

/// The fewest characters of the secret.
pub const SECRET_CHARS_MIN: usize = 16;

/// How much of a signature goes out: 128 bits, as long as no stranger can try them without us.
const MAC_BYTES: usize = 16;

/// Shorter than other signatures: a local part has no room, and each try costs a message.
const ENVELOPE_MAC_BYTES: usize = 8;

/// The longest text that is read as one of ours.
const TOKEN_CHARS_MAX: usize = 600;

/// Signs, and knows what it has signed.
pub struct Signed {
    key: Hmac<Sha256>,
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signed")
    }
}

/// What a link for taking oneself off says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Whose messages.
    pub tenant: String,
    /// Which stream of them.
    pub stream: String,
    /// The SHA-256 of the recipient's address in its canonical form.
    pub address_hash: [u8; 32],
}

impl Signed {
    /// With a secret of ours.
    ///
    /// # Errors
    ///
    /// When the secret is shorter than [`SECRET_CHARS_MIN`].
    pub fn new(secret: &str) -> Result<Self, String> {
        if secret.chars().count() < SECRET_CHARS_MIN {
            return Err(format!("the secret has fewer than {SECRET_CHARS_MIN} characters"));
        }
        let key =
            Hmac::new_from_slice(secret.as_bytes()).map_err(|_| "the secret is of no length for a key".to_owned())?;
        Ok(Self { key })
    }

    /// The address for refusals of one message: `USER+ENVELOPE-SIGNATURE@DOMAIN`, from `USER@DOMAIN`.
    ///
    /// # Errors
    ///
    /// When it would be none: local parts have 64 characters (RFC 5321, 4.5.3.1.1).
    pub fn return_address(&self, base: &Address, envelope_id: &str) -> Result<Address, String> {
        let user = format!("{}+{envelope_id}-{}", base.user(), self.envelope_mac(envelope_id));
        if user.len() > 64 {
            let most = 64usize.saturating_sub(user.len() - base.user().len());
            return Err(format!("the return address leaves no room: its local part may have {most} characters"));
        }
        Address::new(user, base.domain()).map_err(|error| format!("the return address cannot be made: {error}"))
    }

    /// The envelope id in an address that [`Signed::return_address`] has made. `None` in any other.
    pub fn envelope_of(&self, address: &str) -> Option<String> {
        let address = address.trim().trim_start_matches('<').trim_end_matches('>');
        let (user, _) = address.rsplit_once('@')?;
        let (_, token) = user.split_once('+')?;
        let (envelope_id, mac) = token.rsplit_once('-')?;
        // Servers on the way may change the case.
        let (envelope_id, mac) = (envelope_id.to_ascii_lowercase(), mac.to_ascii_lowercase());
        let given = hex::decode(mac).ok().filter(|mac| mac.len() == ENVELOPE_MAC_BYTES)?;
        self.over(about_envelope(&envelope_id).as_bytes()).verify_truncated_left(&given).ok()?;
        Some(envelope_id)
    }

    fn envelope_mac(&self, envelope_id: &str) -> String {
        let mac = self.over(about_envelope(envelope_id).as_bytes()).finalize().into_bytes();
        hex::encode(&mac[..ENVELOPE_MAC_BYTES])
    }

    fn over(&self, signed: &[u8]) -> Hmac<Sha256> {
        self.key.clone().chain_update(signed)
    }

    /// What stands at the end of a link for taking oneself off.
    pub fn unsubscribe_token(&self, about: &Unsubscribe) -> String {
        let mut bytes = self.over(&about_link(about)).finalize().into_bytes()[..MAC_BYTES].to_vec();
        bytes.extend(about.address_hash);
        bytes.extend(about.stream.as_bytes());
        bytes.push(0);
        bytes.extend(about.tenant.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What such a link is about. `None` when it is none of ours.
    pub fn unsubscribe_of(&self, token: &str) -> Option<Unsubscribe> {
        let bytes = URL_SAFE_NO_PAD.decode(Some(token).filter(|token| token.len() <= TOKEN_CHARS_MAX)?).ok()?;
        let (mac, rest) = bytes.split_at_checked(MAC_BYTES)?;
        let (hash, names) = rest.split_at_checked(32)?;
        let (stream, tenant) = std::str::from_utf8(names).ok()?.split_once('\0')?;
        let about =
            Unsubscribe { tenant: tenant.to_owned(), stream: stream.to_owned(), address_hash: hash.try_into().ok()? };
        self.over(&about_link(&about)).verify_truncated_left(mac).ok()?;
        Some(about)
    }
}

/// What is signed says what it is for: one kind of token is never taken for the other.
fn about_envelope(envelope_id: &str) -> String {
    format!("gristmill return address 1\0{envelope_id}")
}

fn about_link(about: &Unsubscribe) -> Vec<u8> {
    let names = format!("gristmill unsubscribe 1\0{}\0{}\0", about.stream, about.tenant);
    [names.as_bytes(), &about.address_hash].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVELOPE: &str = "0123456789abcdef0123456789abcdef";

    fn signed() -> Signed {
        Signed::new("a secret of sixteen").expect("long enough")
    }

    #[test]
    fn the_address_for_refusals_says_which_message_it_is_about_and_no_stranger_can_make_one() {
        let base: Address = "bounce@example.com".parse().expect("an address");
        let address = signed().return_address(&base, ENVELOPE).expect("it fits").to_string();
        assert!(address.len() <= 64 + 1 + "example.com".len(), "{address}");
        assert_eq!(signed().envelope_of(&address).as_deref(), Some(ENVELOPE));
        assert_eq!(signed().envelope_of(&format!("<{}>", address.to_uppercase())).as_deref(), Some(ENVELOPE));
        let other = Signed::new("another secret, longer").expect("long enough");
        assert_eq!(other.envelope_of(&address), None);
        let forged = address.replace("+0", "+1");
        for bad in [forged.as_str(), "bounce@example.com", "bounce+x@example.com", "bounce+x-@example.com", "", "+-@"] {
            assert_eq!(signed().envelope_of(bad), None, "{bad}");
        }
        let long: Address = format!("{}@example.com", "b".repeat(30)).parse().expect("an address");
        assert!(signed().return_address(&long, ENVELOPE).expect_err("no room").contains("14 characters"));
    }

    #[test]
    fn a_link_takes_off_what_it_was_made_for_alone() {
        let about = Unsubscribe { tenant: "acme".to_owned(), stream: "news".to_owned(), address_hash: [7; 32] };
        let token = signed().unsubscribe_token(&about);
        assert_eq!(signed().unsubscribe_of(&token), Some(about.clone()));
        let bytes = URL_SAFE_NO_PAD.decode(&token).expect("base64");
        for place in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[place] ^= 1;
            assert_eq!(signed().unsubscribe_of(&URL_SAFE_NO_PAD.encode(bent)), None, "byte {place}");
            assert_eq!(signed().unsubscribe_of(&URL_SAFE_NO_PAD.encode(&bytes[..place])), None, "cut at {place}");
        }
        // The border between stream and tenant is signed too.
        let moved = Unsubscribe { tenant: "cme".to_owned(), stream: "newsa".to_owned(), ..about };
        assert_ne!(signed().unsubscribe_token(&moved)[..20], token[..20]);
        assert_eq!(signed().unsubscribe_of(&"A".repeat(5_000)), None);
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert!(Signed::new("short").expect_err("refused").contains("16"));
    }
}
