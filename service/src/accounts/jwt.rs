//! Access tokens as texts: JWS in its compact form (RFC 7515) with Ed25519 (RFC 8037), and claims of a JWT (RFC 7519). Pure.
//!
//! One algorithm and one type are taken, which are ours: what a header says beyond that decides nothing. It never names a
//! key of its own, and its `kid` is compared with the ids of our keys and with nothing else.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::id::{KeyId, SessionId, UserId};
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::secret::Secret;

/// How long an access token is valid.
pub const ACCESS_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// What a token says of its type: an ID token, or one of another kind, is none (RFC 9068).
const TYPE: &str = "at+jwt";

/// The one algorithm.
const ALGORITHM: &str = "EdDSA";

/// How far the clock of the database may have gone back since a token was signed, as when another server of it takes over.
const LEEWAY_SECONDS: i64 = 60;

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
    /// What a reader has to understand: of that there is nothing here.
    #[serde(skip_serializing_if = "Option::is_none")]
    crit: Option<serde_json::Value>,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// Who issued it.
    pub(super) iss: String,
    /// For whom it is.
    pub(super) aud: String,
    /// The user.
    pub(super) sub: UserId,
    /// The session.
    pub(super) sid: SessionId,
    /// When it was issued, in seconds since 1970.
    pub(super) iat: i64,
    /// From when on it is valid.
    pub(super) nbf: i64,
    /// From when on it is not valid any more.
    pub(super) exp: i64,
    /// Its own id.
    pub(super) jti: Uuid,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It has not the form of one of ours.
    Form,
    /// It names another algorithm.
    Algorithm,
    /// It names no key that is known.
    Key,
    /// Its signature is not that of its key.
    Signature,
    /// It was issued by another one.
    Issuer,
    /// It is for another one.
    Audience,
    /// It is not valid yet.
    Early,
    /// It is not valid any more.
    Over,
}

/// Who issues the tokens of a server at an address.
pub(super) fn issuer(url: &str) -> &str {
    url.trim_end_matches('/')
}

/// For whom they are.
pub(super) fn audience(url: &str) -> String {
    format!("{}/api/v1", issuer(url))
}

/// Signs claims.
pub(super) fn sign(id: KeyId, key: &Ed25519KeyPair, claims: &Claims) -> serde_json::Result<Secret> {
    let header = Header { alg: ALGORITHM.to_owned(), typ: TYPE.to_owned(), kid: id.to_string(), crit: None };
    let signed = format!("{}.{}", part(&header)?, part(claims)?);
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
    Ok(Secret::new(format!("{signed}.{signature}")))
}

fn part(of: &impl Serialize) -> serde_json::Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(of)?))
}

/// Whether a text looks like a token of this form: no secret of ours has a dot.
pub(super) fn is_one(text: &str) -> bool {
    text.split('.').count() == 3
}

/// The key that a token names: its id as it is written, which is one of ours or nothing.
pub(super) fn key_of(token: &str) -> Result<KeyId, Refusal> {
    let (header, _, _) = parts(token)?;
    let header: Header = read(header)?;
    if header.alg != ALGORITHM {
        return Err(Refusal::Algorithm);
    }
    if header.typ != TYPE || header.crit.is_some() {
        return Err(Refusal::Form);
    }
    // An id has one spelling here: braces, capitals and a URN are others of the same number.
    let id: Option<KeyId> = header.kid.parse().ok();
    id.filter(|id| id.to_string() == header.kid).ok_or(Refusal::Key)
}

/// What a token says that was signed with a key, for us.
pub(super) fn verify(token: &str, public: &[u8], (issuer, audience): (&str, &str)) -> Result<Claims, Refusal> {
    let (header, claims, signature) = parts(token)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refusal::Form)?;
    let signed = token.get(..header.len() + 1 + claims.len()).ok_or(Refusal::Form)?;
    let key = UnparsedPublicKey::new(&ED25519, public);
    key.verify(signed.as_bytes(), &signature).map_err(|_| Refusal::Signature)?;
    let claims: Claims = read(claims)?;
    if claims.iss != issuer {
        return Err(Refusal::Issuer);
    }
    if claims.aud != audience {
        return Err(Refusal::Audience);
    }
    Ok(claims)
}

impl Claims {
    /// Whether it is their time, on the clock by which they were issued.
    pub(super) fn timely(&self, now: Instant) -> Result<(), Refusal> {
        let now = now.timestamp();
        if self.exp <= now {
            return Err(Refusal::Over);
        }
        if self.nbf.max(self.iat) > now.saturating_add(LEEWAY_SECONDS) {
            return Err(Refusal::Early);
        }
        Ok(())
    }

    /// How long they are valid from an instant on.
    pub(super) fn left(&self, now: Instant) -> TimeDelta {
        TimeDelta::try_seconds(self.exp.saturating_sub(now.timestamp())).unwrap_or_default()
    }
}

fn parts(token: &str) -> Result<(&str, &str, &str), Refusal> {
    let mut parts = token.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(header), Some(claims), Some(signature), None) => Ok((header, claims, signature)),
        _ => Err(Refusal::Form),
    }
}

fn read<T: DeserializeOwned>(part: &str) -> Result<T, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Form)?;
    serde_json::from_slice(&bytes).map_err(|_| Refusal::Form)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use ring::hmac;
    use ring::rand::SystemRandom;
    use ring::signature::KeyPair;
    use serde_json::{Value, json};

    use super::*;

    const FOR: (&str, &str) = ("https://jobs.example.com", "https://jobs.example.com/api/v1");

    fn key() -> Ed25519KeyPair {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key")
    }

    fn id() -> KeyId {
        KeyId(Uuid::from_u128(7))
    }

    fn claims() -> Claims {
        let (sub, sid) = (UserId(Uuid::from_u128(1)), SessionId(Uuid::from_u128(2)));
        let (iss, aud) = (FOR.0.to_owned(), FOR.1.to_owned());
        Claims { iss, aud, sub, sid, iat: 1_000, nbf: 1_000, exp: 1_900, jti: Uuid::from_u128(3) }
    }

    fn encoded(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    /// A token with any header and any claims, signed as it should be.
    fn forged(key: &Ed25519KeyPair, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn header(alg: &str, kid: &str) -> Value {
        json!({ "alg": alg, "typ": TYPE, "kid": kid })
    }

    fn refused(token: &str, public: &[u8]) -> Refusal {
        match key_of(token) {
            Ok(named) if named == id() => verify(token, public, FOR).expect_err("refused"),
            Ok(_) => Refusal::Key,
            Err(refusal) => refusal,
        }
    }

    #[test]
    fn what_was_signed_is_read_and_nothing_of_it_can_be_changed() {
        let (ours, other) = (key(), key());
        let public = ours.public_key().as_ref();
        let token = sign(id(), &ours, &claims()).expect("signed");
        let text = token.expose();
        assert_eq!((key_of(text), verify(text, public, FOR)), (Ok(id()), Ok(claims())));
        assert_eq!(verify(text, other.public_key().as_ref(), FOR), Err(Refusal::Signature), "another key");
        for at in 0..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let bent = String::from_utf8(bytes).expect("ASCII");
            // A kid of another number names no key of ours.
            let known = key_of(&bent).is_ok_and(|named| named == id()) && verify(&bent, public, FOR).is_ok();
            assert!(!known, "the character {at} was changed");
        }
        for odd in ["", ".", "..", "...", "a.b", "a.b.c.d", &text[..text.len() - 4], &format!("{text}=")] {
            refused(odd, public);
        }
    }

    #[test]
    fn no_algorithm_is_taken_but_ours() {
        let ours = key();
        let public = ours.public_key().as_ref();
        let body = serde_json::to_value(claims()).expect("JSON");
        for alg in ["none", "None", "NONE", "", "eddsa", "HS256", "RS256", "ES256", "Ed25519"] {
            let signed = forged(&ours, &header(alg, &id().to_string()), &body);
            assert_eq!(refused(&signed, public), Refusal::Algorithm, "{alg}");
            let bare = format!("{}.{}.", encoded(&header(alg, &id().to_string())), encoded(&body));
            assert_eq!(refused(&bare, public), Refusal::Algorithm, "{alg}, unsigned");
        }
        // The public half of the key as a secret of HMAC: what a reader falls for that lets the header choose.
        let signed = format!("{}.{}", encoded(&header("HS256", &id().to_string())), encoded(&body));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, public), signed.as_bytes());
        let confused = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
        assert_eq!(refused(&confused, public), Refusal::Algorithm);
        let unsigned = format!("{}.{}.", encoded(&header("EdDSA", &id().to_string())), encoded(&body));
        assert_eq!(refused(&unsigned, public), Refusal::Signature);
    }

    #[test]
    fn a_header_chooses_no_key_and_asks_for_nothing_that_is_not_understood() {
        let (ours, theirs) = (key(), key());
        let public = ours.public_key().as_ref();
        let body = serde_json::to_value(claims()).expect("JSON");
        let own = id().to_string();
        for kid in [
            "../../../../dev/null",
            "/etc/passwd",
            "' OR '1'='1",
            "",
            "*",
            "file:///dev/null",
            &own.to_uppercase(),
            &format!("{{{own}}}"),
            &format!("urn:uuid:{own}"),
            &own.replace('-', ""),
            &format!("{own}\0"),
            &format!(" {own}"),
        ] {
            // Digits alone have no capitals.
            let same = kid == own;
            let token = forged(&theirs, &header("EdDSA", kid), &body);
            assert_eq!(refused(&token, public), if same { Refusal::Signature } else { Refusal::Key }, "{kid}");
        }
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(theirs.public_key()) });
        for (name, value) in [("jwk", jwk), ("jku", json!("https://evil.test/jwks.json")), ("x5u", json!("x"))] {
            let mut header = header("EdDSA", &own);
            header[name] = value;
            assert_eq!(refused(&forged(&theirs, &header, &body), public), Refusal::Signature, "{name}");
        }
        let crit = json!({ "alg": "EdDSA", "typ": TYPE, "kid": own, "crit": ["b64"], "b64": false });
        assert_eq!(refused(&forged(&ours, &crit, &body), public), Refusal::Form);
        for typ in ["JWT", "", "at+JWT2"] {
            let header = json!({ "alg": "EdDSA", "typ": typ, "kid": own });
            assert_eq!(refused(&forged(&ours, &header, &body), public), Refusal::Form, "{typ}");
        }
    }

    #[test]
    fn a_token_of_another_issuer_or_for_another_audience_is_refused() {
        let ours = key();
        let public = ours.public_key().as_ref();
        let with = |name: &str, value: Value| {
            let mut body = serde_json::to_value(claims()).expect("JSON");
            body[name] = value;
            refused(&forged(&ours, &header("EdDSA", &id().to_string()), &body), public)
        };
        for issuer in ["https://evil.test", "https://jobs.example.com/", "HTTPS://jobs.example.com", ""] {
            assert_eq!(with("iss", json!(issuer)), Refusal::Issuer, "{issuer}");
        }
        assert_eq!(with("aud", json!("https://other.example.com/api/v1")), Refusal::Audience);
        for odd in [json!(null), json!([FOR.1]), json!(7)] {
            assert_eq!(with("aud", odd), Refusal::Form, "one audience, as a text");
        }
        for (name, value) in
            [("sub", json!("ada")), ("sid", json!(null)), ("exp", json!("never")), ("exp", json!(1e30))]
        {
            assert_eq!(with(name, value), Refusal::Form, "{name}");
        }
    }

    #[test]
    fn a_token_is_valid_in_its_time_and_a_clock_that_went_back_a_little_does_no_harm() {
        let at = |second: i64| DateTime::from_timestamp(second, 999_999_000).expect("an instant");
        let said = |second: i64| claims().timely(at(second));
        for second in [940, 1_000, 1_899] {
            assert_eq!(said(second), Ok(()), "{second}");
        }
        assert_eq!(said(939), Err(Refusal::Early));
        for second in [1_900, 1_901, i64::from(u32::MAX)] {
            assert_eq!(said(second), Err(Refusal::Over), "{second}");
        }
        let never = Claims { exp: i64::MAX, nbf: i64::MIN, ..claims() };
        assert_eq!(never.timely(at(1_000)), Ok(()));
        assert_eq!(claims().left(at(1_000)), TimeDelta::seconds(900));
    }
}
