//! ID tokens of a provider: a JWS in its compact form, verified with the provider's own keys. Pure.
//!
//! Three algorithms are taken, each with the kind of key that belongs to it and no other: what the header of a token says
//! chooses among the provider's public keys, and never how such a key is used. So neither `none` nor an HMAC with a public
//! key for its secret gets anywhere.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::Value;

/// How far the clocks of the provider and of this machine may be apart, in seconds.
const LEEWAY_SECONDS: i64 = 60;

/// The most bytes of a token.
const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// The most keys of a provider that are looked at.
const KEYS_MAX: usize = 100;

gristmill_core::words! {
    /// How a token is signed.
    #[derive(PartialOrd, Ord)]
    pub(super) enum Algorithm {
        /// RSA with PKCS #1 padding and SHA-256.
        Rs256 = "RS256",
        /// ECDSA on P-256 with SHA-256.
        Es256 = "ES256",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
}

/// The public keys of a provider.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Jwks {
    keys: Vec<Value>,
}

/// A public key.
#[derive(Debug, Clone, Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("it has not the form of an ID token")]
    Form,
    #[error("it is signed in a way that is not taken")]
    Algorithm,
    #[error("it names no key of the provider")]
    Key,
    #[error("its signature is not that of its key")]
    Signature,
    #[error("it is of another issuer")]
    Issuer,
    #[error("it is for another client")]
    Audience,
    #[error("it is over, or not valid yet")]
    Time,
    #[error("it belongs to another login")]
    Nonce,
    #[error("it says of no subject")]
    Subject,
}

/// What a token must say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    /// Seconds since 1970.
    pub(super) now: i64,
}

/// What a token says that one of the provider's keys has signed, for us, for this login.
pub(super) fn verify(token: &str, keys: &Jwks, expected: Expected<'_>) -> Result<Value, Refusal> {
    let [header, claims, signature] = parts(token)?;
    let read: Header = json(header)?;
    if read.crit.is_some() {
        return Err(Refusal::Form);
    }
    let algorithm: Algorithm = read.alg.parse().map_err(|_| Refusal::Algorithm)?;
    let signed = token.get(..header.len() + 1 + claims.len()).ok_or(Refusal::Form)?.as_bytes();
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refusal::Form)?;
    let fitting = keys.fitting(algorithm, read.kid.as_deref());
    if fitting.is_empty() {
        return Err(Refusal::Key);
    }
    if !fitting.iter().any(|key| key.has_signed(algorithm, signed, &signature)) {
        return Err(Refusal::Signature);
    }
    let claims: Value = json(claims)?;
    check(&claims, expected)?;
    Ok(claims)
}

fn parts(token: &str) -> Result<[&str; 3], Refusal> {
    let mut parts = token.split('.');
    let three = [parts.next(), parts.next(), parts.next()];
    match (three, parts.next()) {
        ([Some(header), Some(claims), Some(signature)], None) if token.len() <= TOKEN_BYTES_MAX => {
            Ok([header, claims, signature])
        }
        _ => Err(Refusal::Form),
    }
}

fn json<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Form)?;
    serde_json::from_slice(&bytes).map_err(|_| Refusal::Form)
}

impl Jwks {
    /// The keys with which a token may be signed: of the right kind, and with the name that it gives. Without a name there
    /// must be one alone.
    fn fitting(&self, algorithm: Algorithm, kid: Option<&str>) -> Vec<Jwk> {
        let readable = self.keys.iter().take(KEYS_MAX).filter_map(|key| Jwk::deserialize(key).ok());
        let mut fitting: Vec<Jwk> = readable.filter(|key| key.is_for(algorithm)).collect();
        match kid {
            Some(kid) => fitting.retain(|key| key.kid.as_deref() == Some(kid)),
            None if fitting.len() > 1 => fitting.clear(),
            None => {}
        }
        fitting
    }
}

impl Jwk {
    fn is_for(&self, algorithm: Algorithm) -> bool {
        let kind = match algorithm {
            Algorithm::Rs256 => self.kty == "RSA",
            Algorithm::Es256 => self.kty == "EC" && self.crv.as_deref() == Some("P-256"),
            Algorithm::EdDsa => self.kty == "OKP" && self.crv.as_deref() == Some("Ed25519"),
        };
        let signs = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        kind && signs && self.alg.as_deref().is_none_or(|alg| alg == algorithm.as_str())
    }

    fn has_signed(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        let number = |of: &Option<String>| URL_SAFE_NO_PAD.decode(of.as_deref().unwrap_or_default()).ok();
        match algorithm {
            Algorithm::Rs256 => {
                let (Some(n), Some(e)) = (number(&self.n), number(&self.e)) else { return false };
                let key = RsaPublicKeyComponents { n, e };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature).is_ok()
            }
            Algorithm::Es256 => {
                let (Some(x), Some(y)) = (number(&self.x), number(&self.y)) else { return false };
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature).is_ok()
            }
            Algorithm::EdDsa => {
                let Some(x) = number(&self.x) else { return false };
                UnparsedPublicKey::new(&ED25519, x).verify(signed, signature).is_ok()
            }
        }
    }
}

fn check(claims: &Value, expected: Expected<'_>) -> Result<(), Refusal> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(expected.issuer) {
        return Err(Refusal::Issuer);
    }
    for_us(claims, expected.client_id)?;
    // A number with a fraction is one, too.
    let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
    let (now, leeway) = (expected.now as f64, LEEWAY_SECONDS as f64);
    let over = seconds("exp").is_none_or(|exp| exp <= now - leeway);
    let early =
        seconds("iat").is_none_or(|iat| iat > now + leeway) || seconds("nbf").is_some_and(|nbf| nbf > now + leeway);
    if over || early {
        return Err(Refusal::Time);
    }
    if text("nonce").is_none_or(|nonce| nonce.is_empty() || nonce != expected.nonce) {
        return Err(Refusal::Nonce);
    }
    match text("sub") {
        Some(subject) if (1..=255).contains(&subject.len()) => Ok(()),
        _ => Err(Refusal::Subject),
    }
}

/// One that is for several must name us as the one to whom it was given.
fn for_us(claims: &Value, client_id: &str) -> Result<(), Refusal> {
    let (ours, several) = match claims.get("aud") {
        Some(Value::String(audience)) => (audience == client_id, false),
        Some(Value::Array(all)) => (all.iter().any(|audience| audience == client_id), all.len() > 1),
        _ => (false, false),
    };
    let given = claims.get("azp").map(|azp| azp.as_str() == Some(client_id));
    if ours && given.unwrap_or(!several) { Ok(()) } else { Err(Refusal::Audience) }
}

#[cfg(test)]
mod tests {
    use ring::hmac;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn part(of: &Value) -> String {
        URL_SAFE_NO_PAD.encode(of.to_string())
    }

    fn ed25519(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key")
    }

    fn key_of(pair: &Ed25519KeyPair, kid: &str) -> Value {
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": kid, "x": x })
    }

    fn jwks(keys: Vec<Value>) -> Jwks {
        Jwks { keys }
    }

    fn claims() -> Value {
        json!({ "iss": "https://idp", "aud": "us", "sub": "7", "exp": NOW + 300, "iat": NOW, "nonce": "n-1" })
    }

    fn token(pair: &Ed25519KeyPair, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", part(header), part(claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes())))
    }

    fn usual() -> Value {
        json!({ "alg": "EdDSA", "kid": "a", "typ": "JWT" })
    }

    fn expected() -> Expected<'static> {
        Expected { issuer: "https://idp", client_id: "us", nonce: "n-1", now: NOW }
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[name] = value;
        claims
    }

    #[test]
    fn a_token_is_taken_that_the_provider_has_signed_for_this_login() {
        let pair = ed25519(1);
        let keys =
            jwks(vec![json!({ "kty": "oct", "k": "AAAA" }), json!(7), key_of(&pair, "a"), key_of(&ed25519(2), "b")]);
        let found = verify(&token(&pair, &usual(), &claims()), &keys, expected()).expect("taken");
        assert_eq!(found["sub"], "7");
        let several = json!({ "aud": ["us", "them"], "azp": "us", "iss": "https://idp", "sub": "7", "exp": NOW + 1,
            "iat": NOW, "nonce": "n-1" });
        verify(&token(&pair, &usual(), &several), &keys, expected()).expect("given to us");
        let alone = jwks(vec![key_of(&pair, "a")]);
        verify(&token(&pair, &json!({ "alg": "EdDSA" }), &claims()), &alone, expected()).expect("the one key");
    }

    #[test]
    fn a_token_on_p256_is_taken() {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).expect("a key");
        let point = pair.public_key().as_ref();
        let part_of = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let key =
            json!({ "kty": "EC", "crv": "P-256", "kid": "e", "x": part_of(&point[1..33]), "y": part_of(&point[33..]) });
        let signed = format!("{}.{}", part(&json!({ "alg": "ES256", "kid": "e" })), part(&claims()));
        let signature = pair.sign(&random, signed.as_bytes()).expect("signed");
        let token = format!("{signed}.{}", part_of(signature.as_ref()));
        verify(&token, &jwks(vec![key.clone()]), expected()).expect("taken");
        let rs = token.replacen(
            &part(&json!({ "alg": "ES256", "kid": "e" })),
            &part(&json!({ "alg": "RS256", "kid": "e" })),
            1,
        );
        assert_eq!(verify(&rs, &jwks(vec![key]), expected()), Err(Refusal::Key), "another kind of key");
    }

    #[test]
    fn neither_none_nor_an_hmac_with_the_public_key_gets_anywhere() {
        let pair = ed25519(1);
        let keys = jwks(vec![key_of(&pair, "a")]);
        for alg in ["none", "None", "HS256", "HS512", "RS512", "PS256", "ES384", ""] {
            let header = json!({ "alg": alg, "kid": "a" });
            assert_eq!(verify(&token(&pair, &header, &claims()), &keys, expected()), Err(Refusal::Algorithm), "{alg}");
        }
        let unsigned = format!("{}.{}.", part(&json!({ "alg": "none" })), part(&claims()));
        assert_eq!(verify(&unsigned, &keys, expected()), Err(Refusal::Algorithm));
        let signed = format!("{}.{}", part(&json!({ "alg": "HS256", "kid": "a" })), part(&claims()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, pair.public_key().as_ref()), signed.as_bytes());
        let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
        assert_eq!(verify(&forged, &keys, expected()), Err(Refusal::Algorithm));
    }

    #[test]
    fn a_token_of_another_key_or_changed_afterwards_is_refused() {
        let (ours, theirs) = (ed25519(1), ed25519(9));
        let keys = jwks(vec![key_of(&ours, "a")]);
        assert_eq!(verify(&token(&theirs, &usual(), &claims()), &keys, expected()), Err(Refusal::Signature));
        let other = json!({ "alg": "EdDSA", "kid": "b" });
        assert_eq!(verify(&token(&ours, &other, &claims()), &keys, expected()), Err(Refusal::Key));
        let good = token(&ours, &usual(), &claims());
        let [header, _, signature] = parts(&good).expect("three");
        let bent = format!("{header}.{}.{signature}", part(&with("sub", json!("1"))));
        assert_eq!(verify(&bent, &keys, expected()), Err(Refusal::Signature));
        let embedded = json!({ "alg": "EdDSA", "kid": "a", "jwk": key_of(&theirs, "a") });
        assert_eq!(verify(&token(&theirs, &embedded, &claims()), &keys, expected()), Err(Refusal::Signature));
        let crit = json!({ "alg": "EdDSA", "kid": "a", "crit": ["b64"] });
        assert_eq!(verify(&token(&ours, &crit, &claims()), &keys, expected()), Err(Refusal::Form));
        for odd in ["", "a.b", "a.b.c.d", "....", &format!("{good}.x")] {
            assert_eq!(verify(odd, &keys, expected()), Err(Refusal::Form), "{odd}");
        }
        let encrypts = jwks(vec![json!({ "kty": "OKP", "crv": "Ed25519", "use": "enc", "kid": "a",
            "x": URL_SAFE_NO_PAD.encode(ours.public_key()) })]);
        assert_eq!(verify(&good, &encrypts, expected()), Err(Refusal::Key));
    }

    #[test]
    fn a_token_for_others_or_of_another_login_or_time_is_refused() {
        let pair = ed25519(1);
        let keys = jwks(vec![key_of(&pair, "a")]);
        for (name, value, refusal) in [
            ("iss", json!("https://idp/"), Refusal::Issuer),
            ("iss", json!(null), Refusal::Issuer),
            ("aud", json!("them"), Refusal::Audience),
            ("aud", json!(["us", "them"]), Refusal::Audience),
            ("aud", json!([]), Refusal::Audience),
            ("azp", json!("them"), Refusal::Audience),
            ("exp", json!(NOW - 61), Refusal::Time),
            ("exp", json!(null), Refusal::Time),
            ("iat", json!(NOW + 61), Refusal::Time),
            ("nbf", json!(NOW + 61), Refusal::Time),
            ("nonce", json!("n-2"), Refusal::Nonce),
            ("nonce", json!(null), Refusal::Nonce),
            ("nonce", json!(""), Refusal::Nonce),
            ("sub", json!(""), Refusal::Subject),
            ("sub", json!(7), Refusal::Subject),
        ] {
            let found = verify(&token(&pair, &usual(), &with(name, value.clone())), &keys, expected());
            assert_eq!(found, Err(refusal), "{name} {value}");
        }
        let empty = Expected { nonce: "", ..expected() };
        assert_eq!(verify(&token(&pair, &usual(), &with("nonce", json!(""))), &keys, empty), Err(Refusal::Nonce));
    }
}
