//! Whether a request is sent again, and when. Pure.

use std::time::Duration;

use super::call::Call;
use super::error::HttpError;

/// How often a request is sent at most.
const TRIES_MAX: u32 = 5;

/// The wait before the second try; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest wait that a server may ask for; one that asks for more is believed, and the caller is told.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// How long to wait before a request is sent again; `None` when it is not. `tries` is how often it was sent.
pub(super) fn wait(call: &Call, error: &HttpError, tries: u32) -> Option<Duration> {
    if tries >= TRIES_MAX {
        return None;
    }
    let own = FIRST_WAIT * 2_u32.saturating_pow(tries.saturating_sub(1));
    match error {
        // Nothing was sent.
        HttpError::Unreachable { .. } => Some(own),
        HttpError::Broken { .. } => call.may_repeat().then_some(own),
        HttpError::Refused(refusal) => {
            let again = match refusal.status {
                // It was not let in.
                429 => true,
                408 | 502..=504 => call.may_repeat(),
                // The same request is under way under this key.
                409 => call.key.is_some() && refusal.retry_after.is_some(),
                _ => false,
            };
            let asked = refusal.retry_after.unwrap_or_default();
            (again && asked <= WAIT_MAX).then(|| own.max(asked))
        }
        HttpError::Options(_) | HttpError::Strange { .. } | HttpError::Input(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::Refusal;
    use super::*;

    fn refused(status: u16, retry_after: Option<u64>) -> HttpError {
        HttpError::Refused(Box::new(Refusal {
            status,
            code: String::new(),
            message: String::new(),
            hint: None,
            faults: Vec::new(),
            progress: None,
            retry_after: retry_after.map(Duration::from_secs),
            request_id: None,
        }))
    }

    #[test]
    fn a_request_is_repeated_only_where_that_cannot_do_it_twice() {
        let (post, delete) = (Call::post(&["jobs"]), Call::delete(&["batches", "a"]));
        let unreachable = HttpError::Unreachable { server: String::new(), reason: String::new() };
        let broken = HttpError::Broken { server: String::new(), reason: String::new() };
        for (error, with_key, without) in [
            (unreachable, true, true),
            (broken, true, false),
            (refused(429, None), true, true),
            (refused(503, Some(5)), true, false),
            (refused(409, Some(1)), true, false),
            (refused(409, None), false, false),
            (refused(429, Some(3_600)), false, false),
            (refused(422, None), false, false),
            (refused(500, None), false, false),
        ] {
            assert_eq!(
                (wait(&post, &error, 1).is_some(), wait(&delete, &error, 1).is_some()),
                (with_key, without),
                "{error:?}"
            );
        }
    }

    #[test]
    fn waits_grow_follow_the_server_and_end() {
        let post = Call::post(&["jobs"]);
        let waits: Vec<_> =
            (1..=5).map(|tries| wait(&post, &refused(503, None), tries).map(|wait| wait.as_millis())).collect();
        assert_eq!(waits, [Some(200), Some(400), Some(800), Some(1_600), None]);
        assert_eq!(wait(&post, &refused(503, Some(7)), 1), Some(Duration::from_secs(7)));
    }
}
