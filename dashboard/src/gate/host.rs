//! Which `Host` a request may name. A page elsewhere can let a name of its own point to this machine (DNS rebinding), so
//! that a browser here talks to us in that page's name; it cannot let an address or `localhost` do so.

use std::net::IpAddr;

use axum::http::{HeaderMap, Uri, header};

use super::error::{ApiError, ErrorCode, Result};

/// Checks the host that a request names; `known` are the names of the configuration.
///
/// # Errors
///
/// 400 when it names none or two, 403 when the name is not known here.
pub fn check(headers: &HeaderMap, uri: &Uri, known: &[String]) -> Result<()> {
    let unreadable = || ApiError::new(ErrorCode::BadRequest, "the request names no host, or more than one");
    let mut said = headers.get_all(header::HOST).iter();
    let host = match (said.next(), said.next(), uri.authority()) {
        (_, Some(_), _) | (None, None, None) => return Err(unreadable()),
        (Some(host), None, None) => host.to_str().map_err(|_| unreadable())?,
        (None, None, Some(authority)) => authority.as_str(),
        (Some(host), None, Some(authority)) if host.as_bytes() == authority.as_str().as_bytes() => authority.as_str(),
        (Some(_), None, Some(_)) => return Err(unreadable()),
    };
    let name = name(host).ok_or_else(unreadable)?;
    if is_harmless(name) || known.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::Forbidden, format!("`{name}` is no name of this server"))
        .hint("name it in `[serve] hosts`, or use its address"))
}

/// The name or address of a host, without its port.
fn name(host: &str) -> Option<&str> {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

fn is_harmless(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(host: &str) -> Result<()> {
        let headers = HeaderMap::from_iter([(header::HOST, host.parse().expect("a value"))]);
        check(&headers, &Uri::from_static("/"), &["jobs.example.com".to_owned()])
    }

    #[test]
    fn addresses_and_known_names_pass_and_rebound_names_do_not() {
        for host in ["127.0.0.1:7700", "[::1]:7700", "localhost", "LOCALHOST:1", "jobs.example.com.", "192.0.2.1"] {
            checked(host).expect(host);
        }
        for host in ["evil.example", "localhost.evil.example", "jobs.example.com.evil.example", "127.0.0.1.nip.io"] {
            assert_eq!(checked(host).expect_err(host).code, ErrorCode::Forbidden, "{host}");
        }
        for host in ["", ":80", "a b", "<script>", "[::1"] {
            assert_eq!(checked(host).expect_err(host).code, ErrorCode::BadRequest, "{host}");
        }
    }

    #[test]
    fn a_request_with_two_hosts_or_two_different_ones_is_not_read() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, "localhost".parse().expect("a value"));
        let elsewhere = Uri::from_static("http://127.0.0.1/x");
        assert_eq!(check(&headers, &elsewhere, &[]).expect_err("two").code, ErrorCode::BadRequest);
        headers.append(header::HOST, "localhost".parse().expect("a value"));
        assert_eq!(check(&headers, &Uri::from_static("/"), &[]).expect_err("two").code, ErrorCode::BadRequest);
        assert_eq!(
            check(&HeaderMap::new(), &Uri::from_static("/"), &[]).expect_err("none").code,
            ErrorCode::BadRequest
        );
    }
}
