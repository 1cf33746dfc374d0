//! Links that may be used once: the first owner, an invitation, an account, a new password. The secret of a link follows its `#`, which
//! no browser sends: the script puts it into the form, and without a script the person pastes it.

use gristmill_core::email_address::EmailAddress;
use gristmill_service::accounts::{AccountError, Secret};
use gristmill_store::accounts::{LINK_OVER, LinkPurpose, LinkView};
use maud::{Markup, html};

use super::answer::{Page, Paged, Redirect, Sent};
use super::flash::Flash;
use super::form::Form;
use super::parts::field::{Field, other_faults, required};
use super::view::View;
use crate::api::asks::{network, strangers};
use crate::gate::{ApiError, Open, Result, Routes};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/link", "Use a link: the secret is what follows its `#`", show)
        .post("/link", "What a link is for, with the form that uses it", open_link)
        .post("/link/first-owner", "Make the first user, who owns the installation", first_owner)
        .post("/link/invite", "Accept an invitation", accept)
        .post("/link/reset", "Choose a password by a link: all of your sessions end", reset)
        .post("/link/verify", "Make an account for the address that the link was mailed to", verify)
        .get("/link/register", "Ask for an account by a mail", wish)
        .post("/link/register", "Ask for an account by a mail: the answer is the same for all", register)
        .get("/link/ask", "Ask for a link to choose a password", ask)
        .post("/link/ask", "Ask for a link to choose a password: the answer is the same for all", send)
}

async fn show(open: Open, view: View) -> Paged {
    Ok(paste(&open, &view, &Form::default()))
}

/// The form into which the secret comes.
fn paste(open: &Open, view: &View, form: &Form) -> Page {
    let link = required("link", "Link", "Paste the whole link, or what follows its #");
    view.bare(
        &open.api,
        "Use a link",
        html! {
            div class="narrow" {
                h1 { "Use a link" }
                form method="post" action="/link" class="stack" id="link-form" {
                    (other_faults(form))
                    (link.show(form))
                    button class="primary" { "Continue" }
                }
            }
        },
    )
}

/// The secret of a link, also of one that was pasted as a whole.
fn secret(form: &mut Form) -> Option<Secret> {
    let given = form.required::<String>("link")?;
    Some(Secret::new(given.rsplit('#').next().unwrap_or_default()))
}

async fn open_link(open: Open, view: View, mut form: Form) -> Result<Sent> {
    let Some(link) = secret(&mut form) else { return Ok(Sent::Again(Box::new(paste(&open, &view, &form).refused()))) };
    form.finish()?;
    match open.api.accounts().link(&link).await? {
        Some(found) => Ok(Sent::Again(Box::new(used(&open, &view, &found, &Form::default(), &link)))),
        None => {
            form.fault("", LINK_OVER);
            Ok(Sent::Again(Box::new(paste(&open, &view, &form).refused())))
        }
    }
}

/// The form that uses a link.
fn used(open: &Open, view: &View, link: &LinkView, form: &Form, secret: &Secret) -> Page {
    let (title, inner) = match link.purpose {
        LinkPurpose::FirstOwner => ("Make the first owner", first_owner_fields(form)),
        LinkPurpose::Invite => ("Accept an invitation", invite_fields(link, form)),
        LinkPurpose::Reset => ("Choose a password", reset_fields(link, form)),
        LinkPurpose::Verify => ("Make your account", account_fields(link, form)),
    };
    let action = format!("/link/{}", link.purpose.as_str().replace('_', "-"));
    let main = html! {
        div class="narrow" {
            h1 { (title) }
            form method="post" action=(action) class="stack" {
                (other_faults(form))
                input type="hidden" name="link" value=(secret.expose());
                (inner)
                button class="primary" { (title) }
            }
        }
    };
    view.bare(&open.api, title, main).secret()
}

const NAME: Field<'_> = Field { autocomplete: "name", ..required("name", "Name", "What you are called") };

const PASSWORD: Field<'_> = Field {
    kind: "password",
    autocomplete: "new-password",
    ..required("password", "Password", "12 to 256 characters; a few words that do not belong together are a good one")
};

fn first_owner_fields(form: &Form) -> Markup {
    let email =
        Field { kind: "email", autocomplete: "username", ..required("email", "Address", "Yours; you log in with it") };
    html! {
        p { "You will own this installation, and the tenant " code { "main" } "." }
        (email.show(form)) (NAME.show(form)) (PASSWORD.show(form))
    }
}

fn invite_fields(link: &LinkView, form: &Form) -> Markup {
    html! {
        p {
            @if let Some(email) = &link.email { code { (email) } " is invited" } @else { "You are invited" }
            @if let Some(tenant) = &link.tenant { " to " strong { (tenant) } }
            @if let Some(role) = link.role { ", as " strong { (role) } }
            "."
        }
        @if link.has_account {
            p { "Your account stays as it is; log in with its password afterwards." }
        } @else {
            (NAME.show(form)) (PASSWORD.show(form))
        }
    }
}

fn account_fields(link: &LinkView, form: &Form) -> Markup {
    html! {
        @if let Some(email) = &link.email { p { "For " code { (email) } "." } }
        (NAME.show(form)) (PASSWORD.show(form))
    }
}

fn reset_fields(link: &LinkView, form: &Form) -> Markup {
    html! {
        @if let Some(email) = &link.email { p { "For " code { (email) } ". All of your sessions end." } }
        (PASSWORD.show(form))
    }
}

/// Shows the form of a link again with what was wrong; an error that belongs to no field is given back.
async fn again(open: &Open, view: &View, mut form: Form, link: &Secret, error: Option<AccountError>) -> Result<Sent> {
    if let Some(error) = error {
        form.take(ApiError::from(error))?;
    }
    let found = open.api.accounts().link(link).await?.ok_or_else(|| ApiError::not_found(LINK_OVER))?;
    Ok(Sent::Again(Box::new(used(open, view, &found, &form, link).refused())))
}

fn to_login(text: String) -> Sent {
    Sent::Done(Redirect::to("/login").saying(Flash::done(text)))
}

async fn first_owner(open: Open, view: View, mut form: Form) -> Result<Sent> {
    let link = secret(&mut form).ok_or_else(|| ApiError::not_found(LINK_OVER))?;
    let email: Option<EmailAddress> = form.required("email");
    let (name, password) = (form.required::<String>("name"), form.secret("password"));
    let (Some(email), Some(name), Some(password)) = (email, name, password) else {
        return again(&open, &view, form, &link, None).await;
    };
    form.finish()?;
    match open.api.accounts().make_first_owner(&strangers(&open), &link, &email, &name, &password).await {
        Ok(_) => Ok(to_login(format!("{name} owns this installation now. Log in."))),
        Err(error) => again(&open, &view, form, &link, Some(error)).await,
    }
}

async fn accept(open: Open, view: View, mut form: Form) -> Result<Sent> {
    let link = secret(&mut form).ok_or_else(|| ApiError::not_found(LINK_OVER))?;
    let found = open.api.accounts().link(&link).await?.ok_or_else(|| ApiError::not_found(LINK_OVER))?;
    let person =
        if found.has_account { None } else { Some((form.required::<String>("name"), form.secret("password"))) };
    if form.is_faulty() {
        return again(&open, &view, form, &link, None).await;
    }
    form.finish()?;
    let person = person.as_ref().and_then(|(name, password)| Some((name.as_deref()?, password.as_ref()?)));
    match open.api.accounts().accept(&strangers(&open), &link, person).await {
        Ok(_) => Ok(to_login("You are a member now. Log in.".to_owned())),
        Err(error) => again(&open, &view, form, &link, Some(error)).await,
    }
}

async fn verify(open: Open, view: View, mut form: Form) -> Result<Sent> {
    let link = secret(&mut form).ok_or_else(|| ApiError::not_found(LINK_OVER))?;
    let (name, password) = (form.required::<String>("name"), form.secret("password"));
    let (Some(name), Some(password)) = (name, password) else {
        return again(&open, &view, form, &link, None).await;
    };
    form.finish()?;
    match open.api.accounts().finish_registration(&strangers(&open), &link, &name, &password).await {
        Ok(_) => Ok(to_login("Your account is made. Log in.".to_owned())),
        Err(error) => again(&open, &view, form, &link, Some(error)).await,
    }
}

async fn reset(open: Open, view: View, mut form: Form) -> Result<Sent> {
    let link = secret(&mut form).ok_or_else(|| ApiError::not_found(LINK_OVER))?;
    let Some(password) = form.secret("password") else { return again(&open, &view, form, &link, None).await };
    form.finish()?;
    match open.api.accounts().reset_password(&strangers(&open), &link, &password).await {
        Ok(_) => Ok(to_login("Your password is changed, and all of your sessions have ended. Log in.".to_owned())),
        Err(error) => again(&open, &view, form, &link, Some(error)).await,
    }
}

async fn ask(open: Open, view: View) -> Paged {
    Ok(RESET.page(&open, &view, &Form::default()))
}

/// A form that asks for a link by mail.
struct Asking {
    path: &'static str,
    title: &'static str,
    about: &'static str,
    hint: &'static str,
}

const RESET: Asking = Asking {
    path: "/link/ask",
    title: "Choose a new password",
    about: "A mail brings you a link, if the address has an account.",
    hint: "The address of your account",
};

const REGISTER: Asking = Asking {
    path: "/link/register",
    title: "Ask for an account",
    about: "A mail brings you a link by which you choose your name and your password.",
    hint: "Yours; you log in with it",
};

impl Asking {
    fn page(&self, open: &Open, view: &View, form: &Form) -> Page {
        let email = Field { kind: "email", autocomplete: "username", ..required("email", "Address", self.hint) };
        let main = html! {
            div class="narrow" {
                h1 { (self.title) }
                p { (self.about) }
                form method="post" action=(self.path) class="stack" {
                    (other_faults(form))
                    (email.show(form))
                    button class="primary" { "Send the link" }
                }
            }
        };
        view.bare(&open.api, self.title, main)
    }
}

async fn wish(open: Open, view: View) -> Paged {
    Ok(REGISTER.page(&open, &view, &Form::default()))
}

async fn register(open: Open, view: View, mut form: Form) -> Result<Sent> {
    let Some(email) = form.required::<EmailAddress>("email") else {
        return Ok(Sent::Again(Box::new(REGISTER.page(&open, &view, &form).refused())));
    };
    form.finish()?;
    open.api.accounts().register(&strangers(&open), &email, &network(&open)).await?;
    // Whether there is such an account is not said.
    Ok(to_login("A mail with a link is on its way.".to_owned()))
}

async fn send(open: Open, view: View, mut form: Form) -> Result<Sent> {
    let Some(email) = form.required::<EmailAddress>("email") else {
        return Ok(Sent::Again(Box::new(RESET.page(&open, &view, &form).refused())));
    };
    form.finish()?;
    open.api.accounts().send_reset(&strangers(&open), &email).await?;
    // Whether there is such an account is not said.
    Ok(to_login("If the address has an account, a mail with a link is on its way.".to_owned()))
}
