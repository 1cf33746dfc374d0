//! The caller's second factor: ask for one, confirm it by its first code, remove it. That of another user is taken away by
//! an owner of the installation.

use gristmill_core::id::UserId;
use gristmill_service::accounts::{AccountError, Proof, Secret};
use gristmill_service::documents::{
    OfferedFactorDocument, RecoveryCodesDocument, ReportDocument, SecondFactorDocument,
};
use gristmill_store::ControlReport;

use super::asks::{OwnSession, Secretive, network_of, person, secret};
use crate::gate::{
    Answer, ApiError, Change, ErrorCode, Fields, JsonBody, Object, Outcome, Overseer, Params, Path, Recognized, Routes,
    perm,
};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/me/factor", "Whether your logins ask for a second factor", show)
        .post("/api/v1/me/factor", "Ask for a second factor: its secret is shown this once", offer)
        .post(
            "/api/v1/me/factor/confirm",
            "Confirm it by its first code: the recovery codes are shown this once, and your other sessions end",
            confirm,
        )
        .post("/api/v1/me/factor/remove", "Remove your second factor, by your password and a code of it", remove)
        .delete("/api/v1/users/{user}/factor", "Take away the second factor of a user, whose sessions end", reset)
}

async fn show(caller: Recognized) -> Outcome<SecondFactorDocument> {
    let factor = caller.whole_store().factor(person(&caller)?).await?.filter(|factor| factor.confirmed);
    let recovery_left = factor.as_ref().map_or(0, |factor| factor.recovery_left);
    Ok(Answer::new(SecondFactorDocument { enrolled: factor.is_some(), recovery_left }))
}

fn password(object: &mut Object) -> Option<Secret> {
    secret(object, "password", "Your password")
}

/// The body that asks for a factor.
#[derive(Debug)]
struct OfferBody(Secret);

impl Fields for OfferBody {
    const NAME: &'static str = "FactorRequest";
    const EXAMPLE: &'static str = r#"{"password": "your password"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        password(object).map(Self)
    }
}

async fn offer(
    caller: Recognized,
    _: Secretive,
    Params(change): Params<Change>,
    JsonBody(OfferBody(password)): JsonBody<OfferBody>,
) -> Outcome<OfferedFactorDocument> {
    let proof = Proof { user: person(&caller)?, password, address: network_of(&caller.info) };
    let offered = caller.api().accounts().offer_factor(&caller.order(&change), &proof).await.map_err(refused)?;
    let (secret, uri) = (offered.secret.expose().to_owned(), offered.uri.expose().to_owned());
    Ok(Answer::new(OfferedFactorDocument { secret, uri }))
}

/// The body that confirms a factor.
#[derive(Debug)]
struct ConfirmBody(Secret);

impl Fields for ConfirmBody {
    const NAME: &'static str = "ConfirmFactorRequest";
    const EXAMPLE: &'static str = r#"{"code": "123456"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        secret(object, "code", "The code of six digits that is shown now").map(Self)
    }
}

async fn confirm(
    caller: Recognized,
    OwnSession(own): OwnSession,
    _: Secretive,
    Params(change): Params<Change>,
    JsonBody(ConfirmBody(code)): JsonBody<ConfirmBody>,
) -> Outcome<RecoveryCodesDocument> {
    let user = person(&caller)?;
    let (order, keep) = (caller.order(&change), own.map(|own| own.hash()));
    let codes = caller.api().accounts().confirm_factor(&order, user, &code, keep).await.map_err(refused)?;
    let codes = codes.iter().map(|code| code.expose().to_owned()).collect();
    Ok(Answer::new(RecoveryCodesDocument { codes }))
}

/// The body that removes a factor.
#[derive(Debug)]
struct RemoveBody {
    password: Secret,
    code: Secret,
}

impl Fields for RemoveBody {
    const NAME: &'static str = "RemoveFactorRequest";
    const EXAMPLE: &'static str = r#"{"password": "your password", "code": "123456"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let password = password(object);
        let code = secret(object, "code", "A code of the factor, or a recovery code");
        Some(Self { password: password?, code: code? })
    }
}

async fn remove(
    caller: Recognized,
    _: Secretive,
    Params(change): Params<Change>,
    JsonBody(RemoveBody { password, code }): JsonBody<RemoveBody>,
) -> Outcome<ReportDocument> {
    let proof = Proof { user: person(&caller)?, password, address: network_of(&caller.info) };
    caller.api().accounts().remove_factor(&caller.order(&change), &proof, &code).await.map_err(refused)?;
    Ok(Answer::new(report(proof.user, true)))
}

async fn reset(
    caller: Overseer<perm::UsersChange>,
    Path(user): Path<UserId>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let removed = caller.api().accounts().reset_factor(&caller.order(&change), user).await?;
    if !removed {
        return Err(ApiError::not_found(format!("there is no user {user} with a second factor")));
    }
    Ok(Answer::new(report(user, removed)))
}

fn report(user: UserId, removed: bool) -> ReportDocument {
    let samples = vec![user.to_string()];
    ReportDocument::new(false, &ControlReport { affected: u64::from(removed), samples, ..ControlReport::default() })
}

/// The caller is recognized already: 401 would send them to log in.
fn refused(error: AccountError) -> ApiError {
    match error {
        AccountError::WrongPassword => ApiError::new(ErrorCode::Forbidden, "`password` is not your password"),
        AccountError::WrongCode => ApiError::new(ErrorCode::Forbidden, error.to_string()),
        error => error.into(),
    }
}
