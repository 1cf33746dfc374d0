//! The caller: who it is, and its password.

use gristmill_service::accounts::{AccountError, Secret};
use gristmill_service::documents::{MeDocument, UserDocument};

use super::asks::{OwnSession, Secretive, person, secret};
use crate::gate::{Answer, ApiError, Change, ErrorCode, Fields, JsonBody, Object, Outcome, Params, Recognized, Routes};

pub(super) fn routes() -> Routes {
    Routes::default().get("/api/v1/me", "Who calls, and everything that they may ask for", show).post(
        "/api/v1/me/password",
        "Change your password: all of your other sessions end",
        change_password,
    )
}

async fn show(caller: Recognized) -> Outcome<MeDocument> {
    Ok(Answer::new(MeDocument::from(&caller.principal)))
}

/// A new password, and the one that it replaces.
#[derive(Debug)]
struct PasswordBody {
    old: Secret,
    new: Secret,
}

impl Fields for PasswordBody {
    const NAME: &'static str = "PasswordRequest";
    const EXAMPLE: &'static str = r#"{"old": "the password as it is", "password": "a longer one of your choice"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let old = secret(object, "old", "The password as it is");
        let new = secret(object, "password", "The new one: 12 to 256 characters");
        Some(Self { old: old?, new: new? })
    }
}

async fn change_password(
    caller: Recognized,
    _: Secretive,
    OwnSession(own): OwnSession,
    Params(change): Params<Change>,
    JsonBody(PasswordBody { old, new }): JsonBody<PasswordBody>,
) -> Outcome<UserDocument> {
    let user = person(&caller)?;
    let keep = own.map(|own| own.hash());
    let changed = caller.api().accounts().change_password(&caller.order(&change), user, &old, &new, keep).await;
    match changed {
        Ok(user) => Ok(Answer::new(user)),
        // The caller is recognized: 401 would send them to log in.
        Err(AccountError::WrongPassword) => Err(ApiError::new(ErrorCode::Forbidden, "`old` is not your password")),
        Err(error) => Err(error.into()),
    }
}
