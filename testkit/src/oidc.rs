//! A provider of OpenID Connect on the loopback: it signs what a test says of a person, and takes each code once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use crate::http::{FakeHttp, Seen, reply};

/// What the client is called here.
pub const CLIENT_ID: &str = "gristmill";

/// The secret of the client.
pub const CLIENT_SECRET: &str = "a secret: of the client";

/// A provider.
#[derive(Debug)]
pub struct FakeProvider {
    http: FakeHttp,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the key that signs, and whose public half is known.
    key: u8,
    /// The number of a key that signs in its place, though it is not known.
    forger: Option<u8>,
    /// The header of tokens, if it is another one than it should be.
    header: Option<Value>,
    codes: BTreeMap<String, Code>,
    drawn: usize,
}

#[derive(Debug, Clone)]
struct Code {
    claims: Value,
    challenge: String,
    redirect: String,
}

/// What a browser goes back with.
#[derive(Debug, Clone)]
pub struct Agreed {
    /// The state.
    pub state: String,
    /// The code.
    pub code: String,
    /// Where to.
    pub redirect: String,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "a provider has a clock of its own")]
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn key(number: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[number; 32]).expect("a seed of 32 bytes")
}

/// The values of a query or a form.
fn pairs(text: &str) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

impl FakeProvider {
    /// One that knows one client.
    ///
    /// # Panics
    ///
    /// When this machine has no free port.
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(State { key: 1, ..State::default() }));
        let answering = Arc::clone(&state);
        let http = FakeHttp::start(move |seen| {
            let answer = answer(&answering, &seen);
            async move { answer }
        })
        .await;
        Self { http, state }
    }

    /// How it calls itself.
    pub fn issuer(&self) -> String {
        self.http.url("")
    }

    /// How often it was asked for something.
    pub fn asked(&self, path: &str) -> usize {
        self.http.seen().iter().filter(|seen| seen.path == path).count()
    }

    /// A person agrees to the login that a browser was sent here with. What is claimed of them is laid over what every token
    /// says; `null` leaves a claim out.
    ///
    /// # Panics
    ///
    /// When it is no login that a provider could read.
    pub fn agree(&self, location: &str, claims: &Value) -> Agreed {
        let (_, query) = location.split_once('?').expect("a query");
        let asked = pairs(query);
        assert_eq!((asked["response_type"].as_str(), asked["code_challenge_method"].as_str()), ("code", "S256"));
        assert_eq!(asked["client_id"], CLIENT_ID);
        assert!(asked["scope"].split(' ').any(|scope| scope == "openid"), "{asked:?}");
        let mut all = json!({
            "iss": self.issuer(), "aud": CLIENT_ID, "exp": now() + 300, "iat": now(), "nonce": asked["nonce"],
        });
        let all_claims = all.as_object_mut().expect("an object");
        for (name, value) in claims.as_object().expect("claims") {
            match value {
                Value::Null => drop(all_claims.remove(name)),
                value => drop(all_claims.insert(name.clone(), value.clone())),
            }
        }
        let redirect = asked["redirect_uri"].clone();
        let mut state = lock(&self.state);
        state.drawn += 1;
        let code = format!("code-{}", state.drawn);
        let kept = Code { claims: all, challenge: asked["code_challenge"].clone(), redirect: redirect.clone() };
        state.codes.insert(code.clone(), kept);
        Agreed { state: asked["state"].clone(), code, redirect }
    }

    /// It signs with another key from now on, under another name.
    pub fn rotate(&self) {
        lock(&self.state).key += 1;
    }

    /// Tokens are signed by another one from now on, under the name of its key.
    pub fn forge(&self) {
        lock(&self.state).forger = Some(200);
    }

    /// Tokens have this header from now on.
    pub fn head(&self, header: Value) {
        lock(&self.state).header = Some(header);
    }
}

fn answer(state: &Mutex<State>, seen: &Seen) -> Response {
    let base = format!("http://{}", seen.header("host"));
    let body = match seen.path.as_str() {
        "/.well-known/openid-configuration" => json!({
            "issuer": base,
            "authorization_endpoint": format!("{base}/authorize"),
            "token_endpoint": format!("{base}/token"),
            "jwks_uri": format!("{base}/keys"),
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        }),
        "/keys" => {
            let number = lock(state).key;
            let x = URL_SAFE_NO_PAD.encode(key(number).public_key());
            json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": number.to_string(), "x": x }] })
        }
        "/token" => match token(&mut lock(state), seen) {
            Some(token) => json!({ "id_token": token, "access_token": "unused", "token_type": "Bearer" }),
            None => return reply(400, &[("content-type", "application/json")], r#"{"error":"invalid_grant"}"#),
        },
        _ => return reply(404, &[], ""),
    };
    reply(200, &[("content-type", "application/json")], body.to_string())
}

/// The ID token for a code, which is taken once, from the client that it was for, with what the login began with.
fn token(state: &mut State, seen: &Seen) -> Option<String> {
    let form = pairs(std::str::from_utf8(&seen.body).ok()?);
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let client = STANDARD.encode(format!("{}:{}", encoded(CLIENT_ID), encoded(CLIENT_SECRET)));
    if seen.method != "POST" || seen.headers.get("authorization")?.to_str().ok()? != format!("Basic {client}") {
        return None;
    }
    let code = state.codes.remove(form.get("code")?)?;
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, form.get("code_verifier")?.as_bytes()));
    if code.challenge != challenge || code.redirect != *form.get("redirect_uri")? {
        return None;
    }
    let usual = json!({ "alg": "EdDSA", "typ": "JWT", "kid": state.key.to_string() });
    let header = state.header.clone().unwrap_or(usual);
    let part = |of: &Value| URL_SAFE_NO_PAD.encode(of.to_string());
    let signed = format!("{}.{}", part(&header), part(&code.claims));
    let signature = key(state.forger.unwrap_or(state.key)).sign(signed.as_bytes());
    Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
