//! Signatures of webhooks, made and verified: Standard Webhooks 1.0.0 (standardwebhooks.com), and the scheme of payment
//! providers, `t=…,v1=…`. Both are HMAC-SHA256 over the bytes as received.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The most signatures of one delivery that are checked: a rotation needs two.
const SIGNATURES_MAX: usize = 8;

/// Returns the bytes of a secret `whsec_` and base64.
///
/// # Errors
///
/// When it has another form: a text that does not contain it.
pub fn key(secret: &str) -> Result<Vec<u8>, String> {
    let bad = "a webhook secret must be `whsec_` followed by 24 to 64 bytes in base64";
    let encoded = secret.strip_prefix("whsec_").ok_or(bad)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| bad)?;
    if (24..=64).contains(&bytes.len()) { Ok(bytes) } else { Err(bad.to_owned()) }
}

/// Makes one signature of Standard Webhooks for each secret, over `id.timestamp.body`.
pub fn signatures(secrets: &[Vec<u8>], id: &str, timestamp: i64, body: &[u8]) -> String {
    let one = |secret: &Vec<u8>| {
        let mac = mac(secret, &[format!("{id}.{timestamp}.").as_bytes(), body])?;
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    };
    secrets.iter().filter_map(one).collect::<Vec<_>>().join(" ")
}

/// Whether one of the signatures in `header`, `v1,BASE64 v1,BASE64`, matches one of the secrets, by Standard Webhooks.
/// The time that this takes does not depend on how much of a signature is right.
pub fn verify_standard(secrets: &[Vec<u8>], id: &str, timestamp: &str, body: &[u8], header: &str) -> bool {
    let signed = header.split_ascii_whitespace().filter_map(|one| one.strip_prefix("v1,"));
    let signed = signed.filter_map(|one| STANDARD.decode(one).ok()).take(SIGNATURES_MAX).collect::<Vec<_>>();
    any(secrets, &signed, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body])
}

/// The same for `t=SECONDS,v1=HEX,v1=HEX`, where `SECONDS.body` is signed: returns the text of the timestamp when a
/// signature matches.
pub fn verify_timestamped<'h>(secrets: &[Vec<u8>], body: &[u8], header: &'h str) -> Option<&'h str> {
    let fields = || header.split(',').filter_map(|field| field.trim().split_once('='));
    let timestamp = fields().find(|(name, _)| *name == "t").map(|(_, value)| value)?;
    let signed = fields().filter(|(name, _)| *name == "v1").filter_map(|(_, value)| hex::decode(value).ok());
    let signed = signed.take(SIGNATURES_MAX).collect::<Vec<_>>();
    any(secrets, &signed, &[timestamp.as_bytes(), b".", body]).then_some(timestamp)
}

/// Checks every pair, so that the time reveals neither the order nor the first match.
fn any(secrets: &[Vec<u8>], signed: &[Vec<u8>], parts: &[&[u8]]) -> bool {
    let pairs = secrets.iter().flat_map(|secret| signed.iter().map(move |one| (secret, one)));
    let holds =
        |(secret, one): (&Vec<u8>, &Vec<u8>)| mac(secret, parts).is_some_and(|mac| mac.verify_slice(one).is_ok());
    pairs.filter(|pair| holds(*pair)).count() > 0
}

/// HMAC takes a key of any length.
fn mac(secret: &[u8], parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    parts.iter().for_each(|part| mac.update(part));
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn the_signature_of_the_specifications_example_comes_out() {
        let secret = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a valid secret");
        let signed = signatures(&[secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn during_a_rotation_each_secret_signs() {
        let (old, new) = (vec![1; 24], vec![2; 24]);
        let both = signatures(&[old.clone(), new.clone()], "id", 1, b"{}");
        let each = [signatures(&[old], "id", 1, b"{}"), signatures(&[new], "id", 1, b"{}")];
        assert_eq!(both, each.join(" "));
    }

    #[test]
    fn a_secret_of_another_form_is_refused_without_showing_it() {
        for text in ["hunter2hunter2", "whsec_!!", "whsec_aGk="] {
            let error = key(text).expect_err(text);
            assert!(error.contains("whsec_") && !error.contains(text), "{error}");
        }
    }

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn the_example_of_the_specification_is_verified_and_nothing_else() {
        let secrets = [vec![7; 24], key(SECRET).expect("a valid secret")];
        let holds = |id, timestamp, body, header: &str| verify_standard(&secrets, id, timestamp, body, header);
        assert!(holds(ID, "1614265330", BODY, SIGNED), "with the second of two secrets");
        assert!(holds(ID, "1614265330", BODY, &format!("v1a,abc v1,AAAA v2,x {SIGNED}")), "among others");
        for (id, timestamp, body, header) in [
            ("msg_other", "1614265330", BODY, SIGNED),
            (ID, "1614265331", BODY, SIGNED),
            (ID, "1614265330", &b"{\"test\":2432232314}"[..], SIGNED),
            (ID, "1614265330", BODY, ""),
            (ID, "1614265330", BODY, "v1,"),
            (ID, "1614265330", BODY, &SIGNED[3..]),
            (ID, "1614265330", BODY, &SIGNED.replace("v1,", "v2,")),
            (ID, "1614265330", BODY, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA="),
        ] {
            assert!(!holds(id, timestamp, body, header), "{id} {timestamp} {header}");
        }
        assert!(!verify_standard(&[], ID, "1614265330", BODY, SIGNED), "no secret verifies nothing");
    }

    #[test]
    fn more_signatures_than_a_rotation_needs_are_not_looked_at() {
        let secrets = [key(SECRET).expect("a valid secret")];
        let many = format!("{}{SIGNED}", "v1,AAAA ".repeat(SIGNATURES_MAX));
        assert!(!verify_standard(&secrets, ID, "1614265330", BODY, &many));
    }

    /// `printf '1614265330.{"id":"evt_1"}' | openssl dgst -sha256 -hmac 'hook secret'`
    #[test]
    fn a_timestamp_is_verified_with_what_it_signs() {
        let secrets = [b"other".to_vec(), b"hook secret".to_vec()];
        let signature = "0423dd7858cacf5e7098334db035c664bb073f1227ed6d0894a289d8c5ed0489";
        let holds = |body: &[u8], header: &str| verify_timestamped(&secrets, body, header).is_some();
        let body = br#"{"id":"evt_1"}"#;
        let right = format!("t=1614265330,v1={signature}");
        assert_eq!(verify_timestamped(&secrets, body, &right), Some("1614265330"));
        assert!(holds(body, &format!("t=1614265330, v0=ab, v1=00ff, v1={signature}")), "among others");
        for header in [
            format!("t=1614265331,v1={signature}"),
            format!("v1={signature}"),
            "t=1614265330".to_owned(),
            format!("t=1614265330,v0={signature}"),
            format!("t=1614265330,v1={}", &signature[2..]),
            String::new(),
        ] {
            assert!(!holds(body, &header), "{header}");
        }
        assert!(!holds(br#"{"id":"evt_2"}"#, &right));
    }
}
