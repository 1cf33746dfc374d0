//! One's own second factor: asked for, confirmed by its first code, removed. Its secret and its recovery codes are shown
//! once.

use gristmill_core::access::Subject;
use gristmill_service::accounts::{AccountError, OfferedFactor, Proof, Secret};
use maud::{Markup, html};

use crate::api::asks::{OwnSession, Secretive, network_of, person};
use crate::gate::{ApiError, Caller, Recognized, Result, Routes};
use crate::pages::answer::{Page, Paged, Redirect, Sent};
use crate::pages::flash::Flash;
use crate::pages::form::Form;
use crate::pages::parts::copies::{copies, copy};
use crate::pages::parts::field::{Field, other_faults, required};
use crate::pages::parts::icon::{Icon, icon};
use crate::pages::parts::number::counted;
use crate::pages::parts::panel::{head, panel};
use crate::pages::view::{Head, View};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/account/factor", "Your second factor: whether your logins ask for a code", show)
        .post("/account/factor", "Ask for a second factor: its secret is shown this once", offer)
        .post(
            "/account/factor/confirm",
            "Confirm it by its first code: the recovery codes are shown this once, and your other sessions end",
            confirm,
        )
        .post("/account/factor/remove", "Remove it, by your password and a code of it", remove)
}

/// How far a second factor is.
enum Stage {
    /// There is none.
    Off,
    /// One was asked for, and shows its secret this once or did so before.
    Offered,
    /// Logins ask for it. So many recovery codes are left.
    On(u64),
}

/// Which form was sent and is shown again, and what is shown this once.
#[derive(Default)]
struct Shown<'a> {
    form: Form,
    offered: Option<&'a OfferedFactor>,
    codes: &'a [Secret],
}

/// What the page of the account says of it.
pub(super) async fn brief(caller: &Caller, view: &View) -> Result<Markup> {
    let words = match stage(caller, view).await? {
        Stage::Off => "Off: a login asks for your password alone.".to_owned(),
        Stage::Offered => "Asked for, and not confirmed yet: it does nothing so far.".to_owned(),
        Stage::On(left) => format!("On: a login asks for a code too. {} left.", recovery(left)),
    };
    Ok(html! { p { (words) } p { a class="button" href="/account/factor" { "Second factor\u{2026}" } } })
}

fn recovery(left: u64) -> String {
    counted(left, "recovery code is", "recovery codes are")
}

async fn stage(caller: &Caller, view: &View) -> Result<Stage> {
    let factor = view.read(caller.store().factor(person(caller)?)).await?;
    Ok(match factor {
        None => Stage::Off,
        Some(factor) if factor.confirmed => Stage::On(factor.recovery_left),
        Some(_) => Stage::Offered,
    })
}

async fn show(caller: Recognized, view: View) -> Paged {
    page(&caller, &view, &Shown::default()).await
}

async fn page(caller: &Caller, view: &View, shown: &Shown<'_>) -> Result<Page> {
    let main = match caller.principal.subject {
        Subject::User(_) => own(caller, view, shown).await?,
        Subject::Token { .. } => html! { p { "This is a token of a program: it has no second factor." } },
        Subject::Anyone => no_account(),
    };
    let about = "A code that your telephone shows, besides your password.";
    let main = html! {
        (head("Second factor", about, html! { a class="button" href="/account" { "Your account" } }))
        (main)
        (copies("gristmill user list", "/api/v1/me"))
    };
    Ok(view.page(caller, Head::new("Second factor", "/account"), main))
}

/// What is said where no caller has to log in.
pub(super) fn no_account() -> Markup {
    html! {
        div class="note calm" {
            (icon(Icon::Warning))
            div {
                p { "No caller has to log in here: whoever reaches this address owns the tenant, and there is no account." }
                pre { code { "[serve]\nauth = \"users\"" } }
            }
        }
    }
}

async fn own(caller: &Caller, view: &View, shown: &Shown<'_>) -> Result<Markup> {
    let form = &shown.form;
    Ok(match stage(caller, view).await? {
        Stage::Off => panel(
            "ask",
            "Set it up",
            html! {
                p { "You need a program that shows codes, such as the one for passwords on your telephone." }
                (asking(form, "Show the secret"))
            },
        ),
        Stage::Offered => html! {
            @if let Some(offered) = shown.offered { (secret(offered)) }
            (panel("confirm", "Confirm it by its first code", html! {
                p { "All of your other sessions end: they were opened without it." }
                (confirming(form))
            }))
            @if shown.offered.is_none() {
                (panel("ask", "Begin anew, with another secret", asking(form, "Show another secret")))
            }
        },
        Stage::On(left) => html! {
            @if !shown.codes.is_empty() { (codes(shown.codes)) }
            (panel("remove", "It is on", html! {
                p { "A login asks for a code. " (recovery(left)) " left, each for one login without your telephone." }
                (removing(form))
            }))
        },
    })
}

/// The secret, this once, for a program to type or to open.
fn secret(offered: &OfferedFactor) -> Markup {
    panel(
        "secret",
        "The secret, shown this once",
        html! {
            p { "Type it into your program, or open the address with it on the device that has it." }
            (copy("secret-text", "Secret", offered.secret.expose()))
            (copy("secret-address", "Address", offered.uri.expose()))
            p { a class="button" href=(offered.uri.expose()) { "Open it in a program for codes" } }
        },
    )
}

/// The recovery codes, this once.
fn codes(codes: &[Secret]) -> Markup {
    let text: Vec<&str> = codes.iter().map(Secret::expose).collect();
    panel(
        "codes",
        "Your recovery codes, shown this once",
        html! {
            p { "Each is for one login without your telephone. Print them, or keep them where you keep your passwords." }
            pre { code id="recovery-codes" { (text.join("\n")) } }
            p { button type="button" class="quiet script" data-copy="recovery-codes" { "Copy" } }
        },
    )
}

fn proof() -> Field<'static> {
    Field { kind: "password", autocomplete: "current-password", ..required("proof", "Your password", "") }
}

fn code() -> Field<'static> {
    let hint = "Six digits, as your program shows them now";
    Field { autocomplete: "one-time-code", ..required("code", "Code", hint) }
}

fn asking(form: &Form, verb: &str) -> Markup {
    html! {
        form method="post" action="/account/factor" class="stack" {
            (other_faults(form))
            (proof().show(form))
            button class="primary" { (verb) }
        }
    }
}

fn confirming(form: &Form) -> Markup {
    html! {
        form method="post" action="/account/factor/confirm" class="stack" {
            (code().show(form))
            button class="primary" { "Switch it on" }
        }
    }
}

fn removing(form: &Form) -> Markup {
    html! {
        form method="post" action="/account/factor/remove" class="stack" {
            (other_faults(form))
            (proof().show(form))
            (Field { hint: "Six digits, or a recovery code", ..code() }.show(form))
            button class="danger" { "Remove it" }
        }
    }
}

/// What was refused, at the field that it is about.
fn refuse(form: &mut Form, error: AccountError) -> Result<()> {
    match error {
        AccountError::WrongPassword => form.fault("proof", "is not your password"),
        AccountError::WrongCode => form.fault("code", "is wrong, or was used already; wait for the next one"),
        AccountError::Wait(_) => form.fault("", error.to_string()),
        error => form.refuse(ApiError::from(error))?,
    }
    Ok(())
}

async fn again(caller: &Caller, view: &View, form: Form) -> Result<Sent> {
    let shown = Shown { form, ..Shown::default() };
    Ok(Sent::Again(Box::new(page(caller, view, &shown).await?.refused())))
}

async fn offer(caller: Recognized, view: View, _: Secretive, mut form: Form) -> Result<Sent> {
    let user = person(&caller)?;
    let (password, change) = (form.secret("proof"), form.change());
    let (Some(password), Ok(())) = (password, form.finish()) else { return again(&caller, &view, form).await };
    let proof = Proof { user, password, address: network_of(&caller.info) };
    match caller.api().accounts().offer_factor(&caller.order(&change), &proof).await {
        Ok(offered) => {
            let shown = Shown { offered: Some(&offered), ..Shown::default() };
            Ok(Sent::Again(Box::new(page(&caller, &view, &shown).await?.secret())))
        }
        Err(error) => {
            refuse(&mut form, error)?;
            again(&caller, &view, form).await
        }
    }
}

async fn confirm(
    caller: Recognized,
    view: View,
    _: Secretive,
    OwnSession(own): OwnSession,
    mut form: Form,
) -> Result<Sent> {
    let (user, keep) = (person(&caller)?, own.map(|own| own.hash()));
    let (code, change) = (form.secret("code"), form.change());
    let (Some(code), Ok(())) = (code, form.finish()) else { return again(&caller, &view, form).await };
    match caller.api().accounts().confirm_factor(&caller.order(&change), user, &code, keep).await {
        Ok(codes) => {
            let shown = Shown { codes: &codes, ..Shown::default() };
            Ok(Sent::Again(Box::new(page(&caller, &view, &shown).await?.secret())))
        }
        Err(error) => {
            refuse(&mut form, error)?;
            again(&caller, &view, form).await
        }
    }
}

async fn remove(caller: Recognized, view: View, _: Secretive, mut form: Form) -> Result<Sent> {
    let user = person(&caller)?;
    let (password, code, change) = (form.secret("proof"), form.secret("code"), form.change());
    let (Some(password), Some(code), Ok(())) = (password, code, form.finish()) else {
        return again(&caller, &view, form).await;
    };
    let proof = Proof { user, password, address: network_of(&caller.info) };
    match caller.api().accounts().remove_factor(&caller.order(&change), &proof, &code).await {
        Ok(()) => {
            let flash = Flash::done("Your second factor is removed: a login asks for your password alone.");
            Ok(Sent::Done(Redirect::to("/account").saying(flash)))
        }
        Err(error) => {
            refuse(&mut form, error)?;
            again(&caller, &view, form).await
        }
    }
}
