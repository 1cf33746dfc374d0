//! From the error of a request to that of a command, with the same exit codes as for the database.

use gristmill_client::http::{HttpError, Refusal};

use crate::exit_code::{CommandError, Exit};

impl From<HttpError> for CommandError {
    fn from(error: HttpError) -> Self {
        let exit = match &error {
            HttpError::Refused(refusal) => return refused(refusal),
            HttpError::Options(_) | HttpError::Input(_) => Exit::Usage,
            HttpError::Unreachable { .. } | HttpError::Broken { .. } => Exit::Unavailable,
            HttpError::Strange { .. } => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

fn refused(refusal: &Refusal) -> CommandError {
    let faults: Vec<String> = refusal.faults.iter().map(|fault| format!("{}: {}", fault.path, fault.message)).collect();
    let mut message = if faults.len() > 1 { faults.join("\n") } else { refusal.message.clone() };
    if let Some(id) = refusal.request_id.as_ref().filter(|_| refusal.status >= 500) {
        message.push_str(&format!(" (request {id})"));
    }
    let before = refusal.progress.as_ref().and_then(|progress| progress["lines"].as_u64()).filter(|lines| *lines > 0);
    if let Some(lines) = before {
        message.push_str(&format!(" (the {lines} jobs of the groups before are enqueued)"));
    }
    let hint = refusal.hint.clone().or_else(|| match (refusal.status, refusal.retry_after) {
        (401, _) => {
            Some("give the file of a token that is valid: `gristmill context add NAME --token-file FILE`".to_owned())
        }
        (_, Some(wait)) => Some(format!("come again in {} seconds", wait.as_secs())),
        _ => None,
    });
    CommandError { exit: exit(refusal.status), message, hint }
}

/// The exit code for a status.
fn exit(status: u16) -> Exit {
    match status {
        401 | 403 => Exit::Denied,
        404 => Exit::NotFound,
        409 | 412 => Exit::Conflict,
        408 | 429 | 500.. => Exit::Unavailable,
        _ => Exit::Usage,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gristmill_client::http::Fault;

    use super::*;

    fn refusal(status: u16) -> Refusal {
        Refusal {
            status,
            code: String::new(),
            message: "no".to_owned(),
            hint: None,
            faults: Vec::new(),
            progress: None,
            retry_after: None,
            request_id: Some("r-1".to_owned()),
        }
    }

    #[test]
    fn each_status_means_the_exit_code_of_its_class() {
        for (status, code) in [
            (400, 2),
            (401, 4),
            (403, 4),
            (404, 3),
            (405, 2),
            (408, 8),
            (409, 5),
            (412, 5),
            (413, 2),
            (415, 2),
            (422, 2),
            (429, 8),
            (500, 8),
            (502, 8),
            (503, 8),
        ] {
            assert_eq!(refused(&refusal(status)).exit.code(), code, "{status}");
        }
        let away = HttpError::Unreachable { server: "https://a.example".to_owned(), reason: "refused".to_owned() };
        assert_eq!(CommandError::from(away).exit.code(), 8);
    }

    #[test]
    fn all_that_is_wrong_is_said_and_where_to_look() {
        let fault = |path: &str| Fault { path: path.to_owned(), message: "is wrong".to_owned() };
        let both = refused(&Refusal { faults: vec![fault("/kind"), fault("?limit")], ..refusal(422) });
        assert_eq!(both.message, "/kind: is wrong\n?limit: is wrong");
        let ours = refused(&Refusal { retry_after: Some(Duration::from_secs(5)), ..refusal(503) });
        assert_eq!(
            (ours.message.as_str(), ours.hint.as_deref()),
            ("no (request r-1)", Some("come again in 5 seconds"))
        );
        assert!(refused(&refusal(401)).hint.is_some_and(|hint| hint.contains("token")));
    }
}
